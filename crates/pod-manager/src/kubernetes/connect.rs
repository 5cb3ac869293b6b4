//! Connects to a cluster, as a Pod or as a user.

use std::{ffi::OsStr, time::Duration};

use kube::{
    Client, Config,
    config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use thiserror::Error;
use tokio::time::timeout;

/// How long the API server may take to return its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The given kubeconfig can't be used.
    #[error("the kubeconfig can't be used: {0}")]
    Kubeconfig(#[source] KubeconfigError),
    /// Neither a kubeconfig nor a Pod's service account was found.
    #[error("neither a service account nor a kubeconfig was found ({0})")]
    Nothing(#[source] Box<InferConfigError>),
    /// The configuration that was found can't be used.
    #[error("the cluster's configuration can't be used: {0}")]
    Unusable(#[source] Box<kube::Error>),
}

/// A connection to a cluster.
pub struct Connection {
    /// The client.
    pub client: Client,
    /// The address of the API server.
    pub address: String,
    /// The namespace of the kubeconfig's context, or the Pod's own.
    pub namespace: Option<String>,
}

/// Connects with this `kubeconfig` (one path, or several as in the variable of that name); without it, with
/// the Pod's service account or the user's kubeconfig. Uses this `context`, or the current one. It makes no
/// call.
///
/// # Errors
/// [`ConnectError`]
pub async fn connect(kubeconfig: Option<&OsStr>, context: Option<&str>) -> Result<Connection, ConnectError> {
    let file = match kubeconfig {
        Some(paths) => Some(merged(paths).map_err(ConnectError::Kubeconfig)?),
        // A service account has no contexts.
        None if context.is_some() => Some(Kubeconfig::read().map_err(ConnectError::Kubeconfig)?),
        None => None,
    };
    let (config, namespace) = match file {
        Some(file) => {
            let namespace = namespace_of(&file, context);
            let options = KubeConfigOptions { context: context.map(str::to_owned), ..Default::default() };
            let config = Config::from_custom_kubeconfig(file, &options).await;
            (config.map_err(ConnectError::Kubeconfig)?, namespace)
        }
        None => match Config::incluster() {
            Ok(config) => {
                let namespace = config.default_namespace.clone();
                (config, Some(namespace))
            }
            Err(_) => {
                let config = Config::infer().await.map_err(|error| ConnectError::Nothing(Box::new(error)))?;
                let file = Kubeconfig::read().ok();
                (config, file.and_then(|file| namespace_of(&file, None)))
            }
        },
    };
    let address = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let client = Client::try_from(config).map_err(|error| ConnectError::Unusable(Box::new(error)))?;
    Ok(Connection { client, address, namespace })
}

fn namespace_of(file: &Kubeconfig, context: Option<&str>) -> Option<String> {
    let name = context.or(file.current_context.as_deref())?;
    let named = file.contexts.iter().find(|context| context.name == name)?;
    named.context.as_ref()?.namespace.clone().filter(|namespace| !namespace.is_empty())
}

/// Returns the API server's version, like `v1.37.2`.
///
/// # Errors
/// Why there is no version, in words.
pub async fn version(client: &Client) -> Result<String, String> {
    match timeout(VERSION_TIMEOUT, client.apiserver_version()).await {
        Ok(Ok(info)) => Ok(info.git_version),
        Ok(Err(error)) => Err(with_causes(&error)),
        Err(_) => Err(format!("no answer within {} s", VERSION_TIMEOUT.as_secs())),
    }
}

/// Returns an error with its causes: the client's own message does not say why a connection failed.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |mut text, cause| {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        text
    })
}

fn merged(paths: &OsStr) -> Result<Kubeconfig, KubeconfigError> {
    let mut files = std::env::split_paths(paths).filter(|path| !path.as_os_str().is_empty());
    let first = Kubeconfig::read_from(files.next().unwrap_or_default())?;
    files.try_fold(first, |merged, path| merged.merge(Kubeconfig::read_from(path)?))
}

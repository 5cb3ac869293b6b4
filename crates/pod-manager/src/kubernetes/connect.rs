//! Selector cluster, and as whom.

use std::{ffi::OsStr, time::Duration};

use kube::{
    Client, Config,
    config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use thiserror::Error;
use tokio::time::timeout;

/// How long the API server may take to say its version.
const ANSWER: Duration = Duration::from_secs(5);

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The file that was named can't be used.
    #[error("the kubeconfig can't be used: {0}")]
    Kubeconfig(#[source] KubeconfigError),
    /// Neither a kubeconfig nor a Pod's service account was found.
    #[error("neither a service account nor a kubeconfig was found ({0})")]
    Nothing(#[source] Box<InferConfigError>),
    /// What was found makes no client.
    #[error("what describes the cluster can't be used: {0}")]
    Unusable(#[source] Box<kube::Error>),
}

/// A cluster that can be asked.
pub struct Connection {
    /// Asks it.
    pub client: Client,
    /// The address of its API server.
    pub address: String,
    /// The namespace that the kubeconfig's context names, or that the Pod is in; `None` where neither does.
    pub namespace: Option<String>,
}

/// A connection, by this `kubeconfig` (one path, or several as in the variable of that name), else by the Pod's own service
/// account, or the user's kubeconfig; with this `context` of it, else its current one. Nothing is asked of the API server.
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

/// What the API server says that it is, like `v1.37.2`.
///
/// # Errors
/// A sentence: it does not answer, or not as one.
pub async fn version(client: &Client) -> Result<String, String> {
    match timeout(ANSWER, client.apiserver_version()).await {
        Ok(Ok(info)) => Ok(info.git_version),
        Ok(Err(error)) => Err(whole(&error)),
        Err(_) => Err(format!("no answer within {} s", ANSWER.as_secs())),
    }
}

/// An error with its causes: the client's own words alone don't say why a connection failed.
fn whole(error: &dyn std::error::Error) -> String {
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

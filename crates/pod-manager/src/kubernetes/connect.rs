//! Which cluster, and as whom.

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
    #[error("KUBECONFIG can't be used: {0}")]
    Kubeconfig(#[source] KubeconfigError),
    /// Neither a kubeconfig nor a Pod's service account was found.
    #[error("neither a service account nor a kubeconfig was found ({0})")]
    Nothing(#[source] Box<InferConfigError>),
    /// What was found makes no client.
    #[error("what describes the cluster can't be used: {0}")]
    Unusable(#[source] Box<kube::Error>),
}

/// A client, and the address of its API server. With `kubeconfig` (one path, or several as in the variable of that name),
/// by that and its current context; else by the Pod's own service account, or the user's kubeconfig. Nothing is
/// asked of the API server.
///
/// # Errors
/// [`ConnectError`]
pub async fn client(kubeconfig: Option<&OsStr>) -> Result<(Client, String), ConnectError> {
    let config = match kubeconfig {
        Some(paths) => {
            let merged = merged(paths).map_err(ConnectError::Kubeconfig)?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(merged, &options).await.map_err(ConnectError::Kubeconfig)?
        }
        None => Config::infer().await.map_err(|error| ConnectError::Nothing(Box::new(error)))?,
    };
    let address = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(|error| ConnectError::Unusable(Box::new(error)))?;
    Ok((client, address.trim_end_matches('/').to_owned()))
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

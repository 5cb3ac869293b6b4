//! What the program sends its requests to: a router or the cluster's API server.

use api::{
    client::{Client, ClientError, parse_header},
    wire::{State, UnsavedWork},
};
use session_key::SessionHash;

use crate::{
    args::GlobalArgs,
    cluster::Cluster,
    error::CliError,
    report::{ListReport, SessionReport},
};

/// A router or a cluster. Both answer in the API's types.
pub(crate) enum Target {
    /// A router: the caller's own sessions.
    Router(Client),
    /// A router, as its administrator: the sessions of all users, without what is in them.
    AllUsers(Client),
    /// The API server: all users' sessions in one namespace.
    Cluster(Box<Cluster>),
}

impl Target {
    /// The router that the arguments name, with the headers that a sign-in proxy in front of it needs.
    pub(crate) fn router(global: &GlobalArgs) -> Result<Self, CliError> {
        let headers = global.headers.iter().filter(|line| !line.trim().is_empty());
        let headers = headers.map(|line| parse_header(line)).collect::<Result<_, _>>()?;
        let client = Client::with_headers(&global.server, headers)?;
        Ok(if global.all { Self::AllUsers(client) } else { Self::Router(client) })
    }

    /// Whether sessions of more than one user are listed.
    pub(crate) fn has_all_users(&self) -> bool {
        matches!(self, Self::AllUsers(_) | Self::Cluster(_))
    }

    pub(crate) async fn list(&self) -> Result<ListReport, CliError> {
        match self {
            Self::Router(client) => Ok(client.list().await?.into()),
            Self::AllUsers(client) => Ok(client.list_all().await.map_err(for_administrators)?.into()),
            Self::Cluster(cluster) => cluster.list().await,
        }
    }

    pub(crate) async fn get(&self, hash: SessionHash) -> Result<SessionReport, CliError> {
        match self {
            Self::Router(client) => Ok(client.get(hash).await?.into()),
            Self::AllUsers(client) => {
                let mut all = client.list_all().await.map_err(for_administrators)?.sessions.into_iter();
                let session = all.find(|session| session.hash == hash);
                Ok(session.ok_or_else(|| no_such_session(hash))?.into())
            }
            Self::Cluster(cluster) => cluster.get(hash).await,
        }
    }

    /// Requests a stop and returns the session's new state.
    pub(crate) async fn stop(&self, hash: SessionHash) -> Result<State, CliError> {
        match self {
            Self::Router(client) => Ok(client.stop(hash).await?.state),
            Self::AllUsers(client) => Ok(client.stop_any(hash).await?.state),
            Self::Cluster(cluster) => cluster.stop(hash).await,
        }
    }

    /// Requests a start and returns the session's new state.
    pub(crate) async fn resume(&self, hash: SessionHash) -> Result<State, CliError> {
        match self {
            Self::Router(client) => Ok(client.resume(hash).await?.state),
            Self::AllUsers(_) => {
                let message = "an administrator can't start another user's session";
                Err(CliError::new(CliError::USAGE, message)
                    .hint("Its owner can; or use the cluster: --kube."))
            }
            Self::Cluster(cluster) => cluster.resume(hash).await,
        }
    }

    /// Deletes a session and its files. Returns false if the deletion is still in progress.
    pub(crate) async fn delete(&self, hash: SessionHash) -> Result<bool, CliError> {
        match self {
            Self::Router(client) => {
                client.delete(hash).await?;
                Ok(true)
            }
            Self::AllUsers(client) => {
                client.delete_any(hash).await?;
                Ok(true)
            }
            Self::Cluster(cluster) => cluster.delete(hash).await,
        }
    }

    /// Returns the work that a deletion would lose.
    pub(crate) async fn unsaved_work(&self, hash: SessionHash) -> Result<UnsavedWork, CliError> {
        match self {
            Self::Router(client) => Ok(client.work(hash).await?),
            // The owner alone is told what is in a session; a cluster can't read its volume.
            Self::AllUsers(_) | Self::Cluster(_) => {
                Ok(UnsavedWork { known: false, uncommitted_files: 0, unpushed_commits: 0 })
            }
        }
    }

    pub(crate) async fn logs(&self, hash: SessionHash, lines: usize) -> Result<String, CliError> {
        match self {
            Self::Router(client) => Ok(client.logs(hash, lines).await?),
            Self::AllUsers(client) => Ok(client.logs_of_any(hash, lines).await?),
            Self::Cluster(cluster) => cluster.logs(hash, lines).await,
        }
    }
}

/// Explains why the list of all sessions is refused: to everybody else its address does not exist.
fn for_administrators(error: ClientError) -> CliError {
    let is_unknown = matches!(&error, ClientError::Refused { status: 404, .. });
    let error = CliError::from(error);
    if !is_unknown {
        return error;
    }
    CliError::new(CliError::REFUSED, "you are no administrator of this router").hint(
        "The router's ADMIN_EMAILS and ADMIN_GROUPS say who is. Without --all, you see your own sessions.",
    )
}

fn no_such_session(hash: SessionHash) -> CliError {
    CliError::new(CliError::NOT_FOUND, format!("there is no session {hash}"))
}

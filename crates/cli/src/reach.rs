//! Whom the program asks: a router, or the cluster itself. Both answer in the API's own types.

use api::{
    client::{Client, parse_header},
    wire::{Session, SessionList, State, UnsavedWork},
};
use serde::Serialize;
use serde_json::Value;
use session_key::SessionHash;

use crate::{args::Global, cluster::Cluster, failure::Failure};

/// What the cluster alone does not tell, by the names it travels under.
const UNKNOWN: [&str; 3] = ["url", "idleTimeoutMinutes", "busy"];

/// Whom the program asks.
pub(crate) enum Reach {
    /// A router: the caller's own sessions.
    Router(Client),
    /// The API server: everybody's sessions in one namespace.
    Cluster(Box<Cluster>),
}

impl Reach {
    /// A router at its address, with the headers that a sign-in in front of it asks for.
    pub(crate) fn router(global: &Global) -> Result<Self, Failure> {
        let headers = global.headers.iter().filter(|line| !line.trim().is_empty());
        let headers = headers.map(|line| parse_header(line)).collect::<Result<_, _>>()?;
        Ok(Self::Router(Client::with_headers(&global.server, headers)?))
    }

    /// The sessions shown are several users'.
    pub(crate) fn is_everyones(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    pub(crate) async fn list(&self) -> Result<SessionList, Failure> {
        match self {
            Self::Router(client) => Ok(client.list().await?),
            Self::Cluster(cluster) => cluster.list().await,
        }
    }

    pub(crate) async fn get(&self, hash: SessionHash) -> Result<Session, Failure> {
        match self {
            Self::Router(client) => Ok(client.get(hash).await?),
            Self::Cluster(cluster) => cluster.get(hash).await,
        }
    }

    /// Asks for a stop; what the session is doing then.
    pub(crate) async fn stop(&self, hash: SessionHash) -> Result<State, Failure> {
        match self {
            Self::Router(client) => Ok(client.stop(hash).await?.state),
            Self::Cluster(cluster) => cluster.stop(hash).await,
        }
    }

    /// Asks for a start; what the session is doing then.
    pub(crate) async fn resume(&self, hash: SessionHash) -> Result<State, Failure> {
        match self {
            Self::Router(client) => Ok(client.resume(hash).await?.state),
            Self::Cluster(cluster) => cluster.resume(hash).await,
        }
    }

    /// Deletes all of a session; false: something of it is still going.
    pub(crate) async fn delete(&self, hash: SessionHash) -> Result<bool, Failure> {
        match self {
            Self::Router(client) => {
                client.delete(hash).await?;
                Ok(true)
            }
            Self::Cluster(cluster) => cluster.delete(hash).await,
        }
    }

    /// What deleting it would lose.
    pub(crate) async fn work(&self, hash: SessionHash) -> Result<UnsavedWork, Failure> {
        match self {
            Self::Router(client) => Ok(client.work(hash).await?),
            // It is on the volume, which only the session's Pod sees.
            Self::Cluster(_) => Ok(UnsavedWork { known: false, uncommitted_files: 0, unpushed_commits: 0 }),
        }
    }

    pub(crate) async fn logs(&self, hash: SessionHash, lines: usize) -> Result<String, Failure> {
        match self {
            Self::Router(client) => Ok(client.logs(hash, lines).await?),
            Self::Cluster(cluster) => cluster.logs(hash, lines).await,
        }
    }

    /// An answer as it is printed for programs: without what is not known.
    pub(crate) fn printed<T: Serialize>(&self, answer: &T) -> Result<Value, Failure> {
        let value = serde_json::to_value(answer);
        let mut value = value
            .map_err(|why| Failure::new(Failure::ERROR, format!("the answer can't be printed: {why}")))?;
        if self.is_everyones() {
            match value.get_mut("sessions").and_then(Value::as_array_mut) {
                Some(sessions) => {
                    sessions.iter_mut().for_each(without_unknown);
                    // Of a list: whose it is.
                    value.as_object_mut().map(|list| list.remove("email"));
                }
                None => without_unknown(&mut value),
            }
        }
        Ok(value)
    }
}

fn without_unknown(session: &mut Value) {
    if let Some(fields) = session.as_object_mut() {
        fields.retain(|name, _| !UNKNOWN.contains(&name.as_str()));
    }
}

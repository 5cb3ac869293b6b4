//! `--kube`: the sessions of a namespace, asked of the API server as whoever the kubeconfig says.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use api::{
    view,
    wire::{Session, SessionList, State},
};
use pod_manager::{
    SystemClock, View,
    clock::Clock,
    kubernetes::{
        admin::{Admin, AdminError},
        connect::{ConnectError, connect},
    },
    model::SessionStatus,
};
use session_key::SessionHash;

use crate::{
    args::Global,
    failure::Failure,
    terminal::{Terminal, harmless},
};

/// Where sessions are if neither the command line nor the kubeconfig's context says.
const NAMESPACE: &str = "opencode";
/// How long a deletion is waited for: longer than a Pod's grace period.
const REMOVAL: Duration = Duration::from_secs(45);
/// A router that is at work renews its Lease every few seconds. Its clock may differ from ours.
const AWAY: Duration = Duration::from_secs(90);

/// One namespace of a cluster.
pub(crate) struct Cluster {
    admin: Admin,
    address: String,
    namespace: String,
    terminal: Terminal,
    clock: SystemClock,
}

impl Cluster {
    pub(crate) async fn connect(global: &Global, terminal: Terminal) -> Result<Self, Failure> {
        let found =
            connect(global.kubeconfig.as_deref().filter(|path| !path.is_empty()), global.context.as_deref())
                .await?;
        let namespace = global.namespace.clone().filter(|name| !name.is_empty()).or(found.namespace);
        let namespace = namespace.unwrap_or_else(|| NAMESPACE.to_owned());
        let admin = Admin::new(&found.client, &namespace, Arc::new(SystemClock));
        Ok(Self { admin, address: found.address, namespace, terminal, clock: SystemClock })
    }

    /// The namespace's name.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) async fn list(&self) -> Result<SessionList, Failure> {
        let listed = self.admin.list().await.map_err(|why| self.told(&why))?;
        for claim in listed.unread {
            self.terminal.say(format_args!("Not a session that can be read: {}", harmless(&claim, false)));
        }
        Ok(SessionList::newest_first("", listed.sessions.iter().map(travelling).collect()))
    }

    pub(crate) async fn get(&self, hash: SessionHash) -> Result<Session, Failure> {
        Ok(travelling(&self.admin.get(hash).await.map_err(|why| self.told(&why))?))
    }

    pub(crate) async fn stop(&self, hash: SessionHash) -> Result<State, Failure> {
        self.admin.stop(hash).await.map_err(|why| self.told(&why))?;
        Ok(self.get(hash).await?.state)
    }

    /// Says so where nobody is there to start it.
    pub(crate) async fn resume(&self, hash: SessionHash) -> Result<State, Failure> {
        self.admin.resume(hash).await.map_err(|why| self.told(&why))?;
        let state = self.get(hash).await?.state;
        if state != State::Running {
            self.terminal.say_some(self.nobody_there().await);
        }
        Ok(state)
    }

    /// Where no router is at work: what that means, in words. Who may not read the Lease is told nothing.
    pub(crate) async fn nobody_there(&self) -> Option<String> {
        let seen = self.admin.router_seen().await.ok()?;
        nobody_there(seen, self.clock.now(), &self.namespace)
    }

    pub(crate) async fn delete(&self, hash: SessionHash) -> Result<bool, Failure> {
        self.admin.delete(hash).await.map_err(|why| self.told(&why))?;
        self.admin.gone(hash, REMOVAL).await.map_err(|why| self.told(&why))
    }

    pub(crate) async fn logs(&self, hash: SessionHash, lines: usize) -> Result<String, Failure> {
        self.admin.logs(hash, lines).await.map_err(|why| self.told(&why))
    }

    fn told(&self, why: &AdminError) -> Failure {
        let (code, hint) = match why {
            AdminError::NotFound(_) => (
                Failure::NOT_FOUND,
                Some(format!(
                    "It was looked for in the namespace {}; --namespace names another.",
                    self.namespace
                )),
            ),
            AdminError::Refused(_) => (
                Failure::REFUSED,
                Some(format!(
                    "See what you may do there: kubectl auth can-i --list --namespace {}",
                    self.namespace
                )),
            ),
            AdminError::Unavailable(_) => (
                Failure::UNREACHABLE,
                Some(format!(
                    "It was asked at {}; --context names another cluster of your kubeconfig.",
                    self.address
                )),
            ),
            _ => (Failure::ERROR, None),
        };
        let is_passing = matches!(why, AdminError::Unavailable(_));
        Failure { hint, is_passing, ..Failure::new(code, harmless(&why.to_string(), false)) }
    }
}

impl From<ConnectError> for Failure {
    fn from(why: ConnectError) -> Self {
        Self::new(Self::USAGE, why.to_string()).hint(
            "Name a kubeconfig with --kubeconfig or KUBECONFIG, and one of its contexts with --context.",
        )
    }
}

fn travelling(seen: &Arc<SessionStatus>) -> Session {
    view::session(&View::from_afar(seen), None, None)
}

/// Where no router is at work: what that means, in words.
fn nobody_there(seen: Option<SystemTime>, now: SystemTime, namespace: &str) -> Option<String> {
    let is_there = seen.is_some_and(|at| now.duration_since(at).unwrap_or_default() < AWAY);
    (!is_there).then(|| {
        format!("No router is at work in the namespace {namespace} now: what was asked for is written down, and starts once one is.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_that_was_seen_lately_is_there() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let check = |seen: Option<SystemTime>, is_there: bool| {
            assert_eq!(nobody_there(seen, now, "opencode").is_none(), is_there, "{seen:?}");
        };
        check(None, false);
        check(Some(now - Duration::from_secs(3)), true);
        check(Some(now + Duration::from_secs(30)), true);
        check(Some(now - Duration::from_secs(300)), false);
    }
}

//! `--kube`: the sessions of a namespace, by way of the API server and with the rights of the kubeconfig.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use api::{
    view,
    wire::{Session, State},
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
    args::GlobalArgs,
    error::CliError,
    report::{ListReport, SessionReport},
    terminal::{Terminal, sanitize_line},
};

/// The namespace if neither the command line nor the kubeconfig's context names one.
const DEFAULT_NAMESPACE: &str = "opencode";
/// How long a deletion is waited for: longer than a Pod's grace period.
const DELETE_TIMEOUT: Duration = Duration::from_secs(45);
/// A router counts as gone this long after it renewed its Lease last. Routers renew it every few seconds;
/// the rest allows for their clocks to differ from ours.
const ROUTER_TIMEOUT: Duration = Duration::from_secs(90);

/// One namespace of a cluster.
pub(crate) struct Cluster {
    admin: Admin,
    address: String,
    namespace: String,
    terminal: Terminal,
    clock: SystemClock,
}

impl Cluster {
    pub(crate) async fn connect(global: &GlobalArgs, terminal: Terminal) -> Result<Self, CliError> {
        let kubeconfig = global.kubeconfig.as_deref().filter(|path| !path.is_empty());
        let connection = connect(kubeconfig, global.context.as_deref()).await?;
        let namespace = global.namespace.clone().filter(|name| !name.is_empty()).or(connection.namespace);
        let namespace = namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        let admin = Admin::new(&connection.client, &namespace, Arc::new(SystemClock));
        Ok(Self { admin, address: connection.address, namespace, terminal, clock: SystemClock })
    }

    /// The namespace's name.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) async fn list(&self) -> Result<ListReport, CliError> {
        let listed = self.admin.list().await.map_err(|error| self.cli_error(&error))?;
        for claim in listed.unreadable {
            self.terminal.note(format_args!("Skipped an unreadable session: {}", sanitize_line(&claim)));
        }
        Ok(ListReport::from_cluster(listed.sessions.iter().map(wire_session).collect()))
    }

    pub(crate) async fn get(&self, hash: SessionHash) -> Result<SessionReport, CliError> {
        let status = self.admin.get(hash).await.map_err(|error| self.cli_error(&error))?;
        Ok(SessionReport::from_cluster(wire_session(&status)))
    }

    pub(crate) async fn stop(&self, hash: SessionHash) -> Result<State, CliError> {
        self.admin.stop(hash).await.map_err(|error| self.cli_error(&error))?;
        Ok(self.get(hash).await?.state)
    }

    /// Requests a start, and prints a note if no router is running to carry it out.
    pub(crate) async fn resume(&self, hash: SessionHash) -> Result<State, CliError> {
        self.admin.resume(hash).await.map_err(|error| self.cli_error(&error))?;
        let state = self.get(hash).await?.state;
        if state != State::Running
            && let Some(warning) = self.no_router_warning().await
        {
            self.terminal.note(warning);
        }
        Ok(state)
    }

    /// Returns a warning if no router is running in the namespace. Returns none if the Lease may not be read.
    pub(crate) async fn no_router_warning(&self) -> Option<String> {
        let last_renewal = self.admin.router_seen().await.ok()?;
        no_router_warning(last_renewal, self.clock.now(), &self.namespace)
    }

    pub(crate) async fn delete(&self, hash: SessionHash) -> Result<bool, CliError> {
        self.admin.delete(hash).await.map_err(|error| self.cli_error(&error))?;
        self.admin.wait_deleted(hash, DELETE_TIMEOUT).await.map_err(|error| self.cli_error(&error))
    }

    pub(crate) async fn logs(&self, hash: SessionHash, lines: usize) -> Result<String, CliError> {
        self.admin.logs(hash, lines).await.map_err(|error| self.cli_error(&error))
    }

    fn cli_error(&self, error: &AdminError) -> CliError {
        let (exit_code, hint) = match error {
            AdminError::NotFound(_) => (
                CliError::NOT_FOUND,
                Some(format!(
                    "The search was in the namespace {}; choose another with --namespace.",
                    self.namespace
                )),
            ),
            AdminError::Refused(_) => (
                CliError::REFUSED,
                Some(format!(
                    "List your permissions: kubectl auth can-i --list --namespace {}",
                    self.namespace
                )),
            ),
            AdminError::Unavailable(_) => (
                CliError::UNREACHABLE,
                Some(format!(
                    "The API server's address is {}; choose another cluster with --context.",
                    self.address
                )),
            ),
            _ => (CliError::ERROR, None),
        };
        let is_transient = matches!(error, AdminError::Unavailable(_));
        CliError { hint, is_transient, ..CliError::new(exit_code, sanitize_line(&error.to_string())) }
    }
}

impl From<ConnectError> for CliError {
    fn from(error: ConnectError) -> Self {
        Self::new(Self::USAGE, error.to_string()).hint(
            "Choose a kubeconfig with --kubeconfig or KUBECONFIG, and one of its contexts with --context.",
        )
    }
}

fn wire_session(status: &Arc<SessionStatus>) -> Session {
    view::session(&View::from_status(status), None, None)
}

fn no_router_warning(last_renewal: Option<SystemTime>, now: SystemTime, namespace: &str) -> Option<String> {
    let is_running =
        last_renewal.is_some_and(|at| now.duration_since(at).unwrap_or_default() < ROUTER_TIMEOUT);
    (!is_running).then(|| {
        format!("No router is running in the namespace {namespace}. The session starts once a router runs.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_with_a_recent_lease_is_running() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let check = |last_renewal: Option<SystemTime>, is_running: bool| {
            let warning = no_router_warning(last_renewal, now, "opencode");
            assert_eq!(warning.is_none(), is_running, "{last_renewal:?}");
        };
        check(None, false);
        check(Some(now - Duration::from_secs(3)), true);
        check(Some(now + Duration::from_secs(30)), true);
        check(Some(now - Duration::from_secs(300)), false);
    }
}

//! Follows which ports of a running session listen.

use std::future::pending;

use futures_util::StreamExt;
use session_key::{Identity, SessionHash};

use super::{
    entry::Entry,
    manager::{Manager, RouteError},
};
use crate::{
    backend::BackendError,
    model::Endpoint,
    ports::{MAX_PORTS, SessionPorts},
};

/// Puts the ports of this run into the session's view. Never returns.
pub(super) async fn watch_ports(manager: &Manager, entry: &Entry, endpoint: &Endpoint) {
    let mut changes = manager.backend.watch_ports(entry.hash, endpoint);
    while let Some(ports) = changes.next().await {
        entry.update_run(endpoint, manager.clock.now(), &manager.subscriptions, |run| run.ports = ports);
    }
    pending::<()>().await;
}

impl Manager {
    /// Returns the endpoint of the user's session and its ports, for a request to one of its dev servers.
    /// Takes no lock and never waits.
    ///
    /// # Errors
    /// Those of [`route`](Manager::route).
    pub fn route_port(
        &self,
        user: &Identity,
        hash: SessionHash,
    ) -> Result<(Endpoint, SessionPorts), RouteError> {
        self.route_with(user, hash, |endpoint, view| (endpoint.clone(), view.ports.clone()))
    }

    /// Records which ports of a session listen, as its Pod reports them. The caller has checked that it is
    /// the session that reports.
    ///
    /// # Errors
    /// [`BackendError`] if the report can't be stored.
    pub async fn report_ports(&self, hash: SessionHash, ports: &[u16]) -> Result<(), BackendError> {
        let mut ports = ports.to_vec();
        ports.sort_unstable();
        ports.dedup();
        ports.truncate(MAX_PORTS);
        self.backend.report_ports(hash, &ports).await
    }

    /// Returns whether everything that listens on this port of the machine belongs to the session.
    pub async fn owns_port(&self, hash: SessionHash, port: u16) -> bool {
        self.backend.owns_port(hash, port).await
    }
}

//! Connects the proxy to the manager: resolves requests to sessions and records activity.

use std::{net::SocketAddr, sync::Arc};

use http::HeaderValue;
use opencode_session_agent::is_dev_port;
use pod_manager::{
    Endpoint, Password,
    manager::{Manager, RouteError, View, ViewState},
};
use proxy_core::{Activity, HostPolicy, RecordActivity, ResolveError, Resolver, Upstream};
use session_key::{Identity, SessionRoute, Target};

use crate::dev_servers::{Loopback, OwnedPort, Tunnel};

/// The manager behind the proxy's traits.
pub(crate) struct SessionResolver {
    manager: Arc<Manager>,
    ports: PortAccess,
}

/// Which ports of a session's host lead to its dev servers.
#[derive(Debug, Clone)]
pub enum PortAccess {
    /// Ports on which only processes of the session itself listen: the sessions of several users share the
    /// machine's loopback.
    Owned,
    /// Ports of the machine's loopback, which belongs to the only user, except those that are not dev
    /// servers.
    SharedLoopback {
        /// The ports that the router itself listens on.
        own_ports: Vec<u16>,
    },
    /// All ports that may be dev servers': each session has an address of its own.
    PerSession,
}

impl SessionResolver {
    /// Returns a resolver for the manager's sessions.
    #[must_use]
    pub(crate) fn new(manager: Arc<Manager>, ports: PortAccess) -> Self {
        Self { manager, ports }
    }

    /// Returns the address of a dev server, which believes to be at `localhost`. It never gets opencode's
    /// password, and no session's opencode is reachable as a dev server, since that would bypass its own host
    /// name.
    fn dev_server(&self, route: &SessionRoute, port: u16, user: &Identity) -> Result<Upstream, ResolveError> {
        let (endpoint, ports) = self.manager.route_port(user, route.hash).map_err(resolve_error)?;
        let is_opencode = |port| {
            let sessions = self.manager.list(user);
            sessions.iter().filter_map(|view| view.endpoint()).any(|other| other.address.port() == port)
        };
        let is_allowed = match &self.ports {
            PortAccess::Owned => ports.listening.iter().any(|listening| listening.port == port),
            PortAccess::SharedLoopback { own_ports } => !own_ports.contains(&port) && !is_opencode(port),
            PortAccess::PerSession => port != endpoint.address.port() && is_dev_port(port),
        };
        if !is_allowed {
            return Err(ResolveError::NotFound);
        }
        let address = SocketAddr::new(endpoint.address.ip(), port);
        let upstream = Upstream::new(address).with_host(HostPolicy::Localhost);
        Ok(match (&self.ports, ports.relay) {
            (PortAccess::Owned, _) => {
                let manager = self.manager.clone();
                upstream.with_connector(Arc::new(OwnedPort { manager, hash: route.hash, port }))
            }
            // On this machine, a server may listen on one of the two loopback addresses only.
            (PortAccess::SharedLoopback { .. }, _) => upstream.with_connector(Arc::new(Loopback(port))),
            (PortAccess::PerSession, Some(relay)) => {
                upstream.with_connector(Arc::new(Tunnel { relay, port }))
            }
            (PortAccess::PerSession, None) => upstream,
        })
    }
}

impl Resolver for SessionResolver {
    fn resolve(&self, route: &SessionRoute, user: &Identity) -> Result<Upstream, ResolveError> {
        match route.target {
            // Who attaches has the owner's identity: a token was checked before.
            Target::Opencode | Target::Attach => {
                let upstream = |endpoint: &Endpoint, _: &View| {
                    let authorization = endpoint.password.as_ref().map(Password::authorization).map(copy);
                    Upstream::new(endpoint.address).with_authorization(authorization)
                };
                self.manager.route_with(user, route.hash, upstream).map_err(resolve_error)
            }
            Target::Port(port) => self.dev_server(route, port, user),
        }
    }
}

impl RecordActivity for SessionResolver {
    fn touch(&self, route: &SessionRoute, _: Activity) {
        self.manager.touch(route.hash);
    }
}

/// Copies a value. A clone would share its reference count with all requests of the session, and so between
/// cores.
fn copy(value: &HeaderValue) -> HeaderValue {
    let mut copy = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
    copy.set_sensitive(value.is_sensitive());
    copy
}

/// Converts the manager's error. A program may retry: soon if the session is starting, later if it is
/// stopped.
fn resolve_error(error: RouteError) -> ResolveError {
    match error {
        RouteError::NotFound => ResolveError::NotFound,
        RouteError::NotRunning(state) => {
            let seconds = match state {
                ViewState::Creating | ViewState::Running => 2,
                ViewState::Stopping => 5,
                ViewState::Stopped | ViewState::Failed => 30,
            };
            ResolveError::NotRunning { retry_after: Some(seconds) }
        }
    }
}

//! Connects the proxy to the manager: resolves requests to sessions and records activity.

use std::{net::SocketAddr, sync::Arc};

use pod_manager::{
    Endpoint,
    manager::{Manager, RouteError, ViewState},
};
use proxy_core::{Activity, HostPolicy, RecordActivity, ResolveError, Resolver, Upstream};
use session_key::{Identity, SessionHash, SessionRoute, Target};

/// The manager behind the proxy's traits.
pub(crate) struct SessionResolver {
    manager: Arc<Manager>,
    ports: PortAccess,
}

/// Which ports of a session's host lead to its dev servers.
#[derive(Debug, Clone)]
pub enum PortAccess {
    /// None: the sessions of several users share the machine's loopback, so a port's owner is unknown.
    Denied,
    /// Ports of the machine's loopback, which belongs to the only user, except those that are not dev
    /// servers.
    SharedLoopback {
        /// The ports that the router itself listens on.
        own_ports: Vec<u16>,
    },
    /// All ports except opencode's: each session has an address of its own.
    PerSession,
}

impl SessionResolver {
    /// Returns a resolver for the manager's sessions.
    #[must_use]
    pub(crate) fn new(manager: Arc<Manager>, ports: PortAccess) -> Self {
        Self { manager, ports }
    }

    /// Returns the address of a dev server. It never gets opencode's password, and no session's opencode is
    /// reachable as a dev server, since that would bypass its own host name.
    fn dev_server(&self, endpoint: &Endpoint, port: u16, user: &Identity) -> Result<Upstream, ResolveError> {
        let is_opencode = |port| {
            let sessions = self.manager.list(user);
            sessions.iter().filter_map(|view| view.endpoint()).any(|other| other.address.port() == port)
        };
        let is_allowed = match &self.ports {
            PortAccess::Denied => false,
            PortAccess::SharedLoopback { own_ports } => !own_ports.contains(&port) && !is_opencode(port),
            PortAccess::PerSession => port != endpoint.address.port(),
        };
        if !is_allowed {
            return Err(ResolveError::NotFound);
        }
        let address = SocketAddr::new(endpoint.address.ip(), port);
        Ok(Upstream::new(address).with_host(HostPolicy::Localhost))
    }
}

impl Resolver for SessionResolver {
    fn resolve(&self, route: &SessionRoute, user: &Identity) -> Result<Upstream, ResolveError> {
        let endpoint = self.manager.route(user, route.hash).map_err(resolve_error)?;
        match route.target {
            // Who attaches has the owner's identity: a token was checked before.
            Target::Opencode | Target::Attach => {
                let authorization =
                    endpoint.password.as_ref().map(|password| password.authorization().clone());
                Ok(Upstream::new(endpoint.address).with_authorization(authorization))
            }
            Target::Port(port) => self.dev_server(&endpoint, port, user),
        }
    }
}

impl RecordActivity for SessionResolver {
    fn touch(&self, hash: SessionHash, _: Activity) {
        self.manager.touch(hash);
    }
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

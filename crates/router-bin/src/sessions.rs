//! Where the request's way and the session's way meet: the manager's answers as the proxy asks for them.

use std::{net::SocketAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use pod_manager::{
    Endpoint,
    manager::{Manager, RouteError, ViewState},
};
use proxy_core::{Activity, RecordActivity, ResolveError, Resolver, Upstream};
use session_key::{Identity, SessionHash, SessionRoute, Target};

/// The manager, as the proxy's two traits see it.
pub(crate) struct Sessions {
    manager: Arc<Manager>,
    ports: Ports,
}

/// Which ports of a session's host are dev servers in it.
#[derive(Debug, Clone)]
pub enum Ports {
    /// The sessions of several users share the machine's loopback: nobody can tell whose a port is, and none is led to.
    Nobodys,
    /// The one user owns the machine, whose loopback the sessions share: its ports are theirs, but for those that the
    /// router itself listens on.
    OfTheMachine {
        /// The router's own listeners.
        ours: Vec<u16>,
    },
    /// Each session has an address of its own: its ports are the session's.
    OfEachSession,
}

impl Sessions {
    /// Over this manager.
    #[must_use]
    pub(crate) fn new(manager: Arc<Manager>, ports: Ports) -> Self {
        Self { manager, ports }
    }

    /// A dev server's address. It never gets opencode's password, and no opencode is reached this way, not even the
    /// session's own: it has a name of its own.
    fn dev_server(&self, endpoint: &Endpoint, port: u16, who: &Identity) -> Result<Upstream, ResolveError> {
        let is_opencode = |port| {
            let views = self.manager.list(who);
            views.iter().filter_map(|view| view.endpoint()).any(|other| other.address.port() == port)
        };
        let theirs = match &self.ports {
            Ports::Nobodys => false,
            Ports::OfTheMachine { ours } => !ours.contains(&port) && !is_opencode(port),
            Ports::OfEachSession => port != endpoint.address.port(),
        };
        if !theirs {
            return Err(ResolveError::NotFound);
        }
        Ok(Upstream { address: SocketAddr::new(endpoint.address.ip(), port), authorization: None })
    }
}

impl Resolver for Sessions {
    fn resolve(&self, route: &SessionRoute, who: &Identity) -> Result<Upstream, ResolveError> {
        let endpoint = self.manager.route(who, route.hash).map_err(unroutable)?;
        match route.target {
            Target::Opencode => {
                Ok(Upstream { address: endpoint.address, authorization: authorization(&endpoint) })
            }
            Target::Port(port) => self.dev_server(&endpoint, port, who),
            // Attaching by a token comes later; the name is kept for it.
            Target::Attach => Err(ResolveError::NotFound),
        }
    }
}

impl RecordActivity for Sessions {
    fn touch(&self, hash: SessionHash, _: Activity) {
        self.manager.touch(hash);
    }
}

/// A program may ask again: soon where the session is on its way, later where somebody must start it first.
fn unroutable(why: RouteError) -> ResolveError {
    match why {
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

/// What a session's opencode asks for (Basic, RFC 7617).
fn authorization(endpoint: &Endpoint) -> Option<HeaderValue> {
    let password = endpoint.password.as_ref()?;
    let encoded = STANDARD.encode(format!("opencode:{}", password.expose()));
    let mut value = HeaderValue::try_from(format!("Basic {encoded}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

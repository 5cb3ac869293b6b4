use std::{fmt, net::SocketAddr};

use http::HeaderValue;
use session_key::{Identity, SessionRoute};

/// Where a request goes. Answers from memory, never waits.
pub trait Resolver: Send + Sync + 'static {
    /// The server behind a route, for this user.
    ///
    /// # Errors
    /// [`ResolveError::NotFound`] also for a session of somebody else's.
    fn resolve(&self, route: &SessionRoute, who: &Identity) -> Result<Upstream, ResolveError>;
}

/// A server to forward to.
#[derive(Clone)]
pub struct Upstream {
    /// Its address.
    pub address: SocketAddr,
    /// The `Authorization` it wants; the caller's own never reaches it.
    pub authorization: Option<HeaderValue>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authorization = self.authorization.as_ref().map(|_| "…");
        f.debug_struct("Upstream")
            .field("address", &self.address)
            .field("authorization", &authorization)
            .finish()
    }
}

/// Why there is no server behind a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolveError {
    /// No such session, or not this user's.
    NotFound,
    /// This user's session, which does not run now.
    NotRunning {
        /// Seconds after which asking again makes sense: it is starting. `None`: nobody has asked for it.
        retry_after: Option<u32>,
    },
}

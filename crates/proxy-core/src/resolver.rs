//! The policy of [`crate::Resolve`], and the upstream that it returns.

use std::{fmt, net::SocketAddr};

use http::HeaderValue;
use session_key::{Identity, SessionRoute};
use thiserror::Error;

/// Resolves a route to its upstream. Answers from memory, never waits.
pub trait Resolver: Send + Sync + 'static {
    /// Returns the upstream of a route, for this user.
    ///
    /// # Errors
    /// [`ResolveError::NotFound`] if the session does not exist or belongs to another user;
    /// [`ResolveError::NotRunning`] if the user's session has no upstream now.
    fn resolve(&self, route: &SessionRoute, identity: &Identity) -> Result<Upstream, ResolveError>;
}

/// A server that requests are forwarded to.
#[derive(Clone)]
pub struct Upstream {
    /// Where the server listens.
    pub address: SocketAddr,
    /// The `Authorization` that the server requires. The caller's own is never forwarded.
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

/// Why a route has no upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// The session does not exist, or belongs to another user.
    #[error("no such session")]
    NotFound,
    /// The user's session is not running.
    #[error("the session is not running")]
    NotRunning {
        /// Seconds after which a retry makes sense. `None`: the session starts only if somebody asks for it.
        retry_after: Option<u32>,
    },
}

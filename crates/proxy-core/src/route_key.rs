//! What the layers know of a request's route.

use session_key::{SessionRoute, Target};

/// The key under which a [`Resolver`](crate::Resolver) finds the upstream of a request.
///
/// [`HostRouter`](crate::HostRouter), or a layer of your own, puts it into the request's extensions. A route
/// of your own needs only the first method:
///
/// ```
/// use proxy_core::RouteKey;
///
/// /// A user's notebook server.
/// #[derive(Clone)]
/// struct Notebook(u64);
///
/// impl RouteKey for Notebook {
///     fn pool(&self) -> u64 {
///         self.0
///     }
/// }
/// ```
pub trait RouteKey: Clone + Send + Sync + 'static {
    /// Returns a number that is different for tenants who must not share connections. Connections are pooled
    /// for each pair of address and number, so that a tenant who gets the address of another one does not get
    /// their connections, too.
    fn pool(&self) -> u64;

    /// Returns the port of the dev server that the route leads to, if it is one; by default it is none.
    /// [`SameOrigin`](crate::SameOrigin) lets the dev servers of one session use each other.
    fn dev_server_port(&self) -> Option<u16> {
        None
    }
}

impl RouteKey for SessionRoute {
    fn pool(&self) -> u64 {
        let [a, b, c, d, e, f] = self.hash.to_bytes();
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    fn dev_server_port(&self) -> Option<u16> {
        match self.target {
            Target::Port(port) => Some(port),
            Target::Opencode | Target::Attach => None,
        }
    }
}

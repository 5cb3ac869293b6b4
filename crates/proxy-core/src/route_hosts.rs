//! The policy of [`crate::HostRouter`].

use std::sync::Arc;

use session_key::{HostScheme, Route, SessionRoute};

/// Reads the route of a request from its host name.
///
/// ```
/// use proxy_core::{HostRoute, RouteHosts};
///
/// /// `<user>.notebooks.example`
/// struct Notebooks;
///
/// impl RouteHosts for Notebooks {
///     type Route = String;
///
///     fn route(&self, host: &str) -> HostRoute<String> {
///         let name = host.split_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase();
///         match name.strip_suffix("notebooks.example") {
///             Some("") => HostRoute::Site,
///             Some(user) => HostRoute::Session(user.trim_end_matches('.').to_owned()),
///             None => HostRoute::Unknown,
///         }
///     }
/// }
/// ```
pub trait RouteHosts: Send + Sync + 'static {
    /// What becomes the extension of a request.
    type Route: Clone + Send + Sync + 'static;

    /// Returns where requests for this host go. The host is a `host[:port]` in the client's spelling.
    fn route(&self, host: &str) -> HostRoute<Self::Route>;
}

/// Where requests for a host go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostRoute<K = SessionRoute> {
    /// To a session.
    Session(K),
    /// To the site.
    Site,
    /// Nowhere: the host is not one of this server's.
    Unknown,
}

impl RouteHosts for HostScheme {
    type Route = SessionRoute;

    fn route(&self, host: &str) -> HostRoute {
        match self.parse(host) {
            Route::Session(route) => HostRoute::Session(route),
            Route::Site => HostRoute::Site,
            Route::UnknownHost => HostRoute::Unknown,
        }
    }
}

impl<T: RouteHosts + ?Sized> RouteHosts for Arc<T> {
    type Route = T::Route;

    fn route(&self, host: &str) -> HostRoute<T::Route> {
        (**self).route(host)
    }
}

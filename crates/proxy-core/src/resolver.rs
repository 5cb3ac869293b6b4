//! The policy of [`crate::Resolve`], and the upstream that it returns.

use std::{fmt, future::Future, io, net::SocketAddr, pin::Pin, sync::Arc};

use http::HeaderValue;
use session_key::{Identity, SessionRoute};
use thiserror::Error;

use crate::upstream_stream::UpstreamStream;

/// Resolves a route to its upstream. Answers from memory, never waits.
pub trait Resolver<K = SessionRoute, I = Identity>: Send + Sync + 'static {
    /// Returns the upstream of a route, for this user.
    ///
    /// # Errors
    /// [`ResolveError::NotFound`] if the session does not exist or belongs to another user;
    /// [`ResolveError::NotRunning`] if the user's session has no upstream now.
    fn resolve(&self, route: &K, identity: &I) -> Result<Upstream, ResolveError>;
}

impl<K, I, T: Resolver<K, I> + ?Sized> Resolver<K, I> for Arc<T> {
    fn resolve(&self, route: &K, identity: &I) -> Result<Upstream, ResolveError> {
        (**self).resolve(route, identity)
    }
}

/// A server that requests are forwarded to.
#[derive(Clone)]
#[non_exhaustive]
pub struct Upstream {
    /// Where the server listens.
    pub address: SocketAddr,
    /// The `Authorization` that the server requires. The caller's own is never forwarded.
    pub authorization: Option<HeaderValue>,
    /// Which name the server believes to be its own.
    pub host: HostPolicy,
    /// Opens connections to the server; `None` connects to `address`.
    pub connector: Option<Arc<dyn Connector>>,
    /// Whose connections are used, see [`RouteKey::pool`](crate::RouteKey::pool): [`crate::Resolve`] sets it.
    pub(crate) pool: u64,
}

impl Upstream {
    /// Creates an upstream at this address, which requires no `Authorization` and knows its public name.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, authorization: None, host: HostPolicy::Public, connector: None, pool: 0 }
    }

    /// Sends this `Authorization`.
    #[must_use]
    pub fn with_authorization(mut self, authorization: Option<HeaderValue>) -> Self {
        self.authorization = authorization;
        self
    }

    /// Names the server to itself like this.
    #[must_use]
    pub fn with_host(mut self, host: HostPolicy) -> Self {
        self.host = host;
        self
    }

    /// Opens connections with `connector`.
    #[must_use]
    pub fn with_connector(mut self, connector: Arc<dyn Connector>) -> Self {
        self.connector = Some(connector);
        self
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authorization = self.authorization.as_ref().map(|_| "…");
        let connector = self.connector.as_ref().map(|_| "…");
        f.debug_struct("Upstream")
            .field("address", &self.address)
            .field("authorization", &authorization)
            .field("host", &self.host)
            .field("connector", &connector)
            .finish()
    }
}

/// Which name an upstream believes to be its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostPolicy {
    /// The one by which browsers reach it: `Host` stays as it is.
    #[default]
    Public,
    /// `localhost:<port>`, as dev servers expect on their developer's machine: they refuse other names.
    ///
    /// `Host`, and in `Origin` and `Referer` the public names of the session's dev servers, become local
    /// names. In responses the local names in `Location`, `Content-Location`, `Refresh`,
    /// `Access-Control-Allow-Origin` and cookies become public ones.
    Localhost,
}

/// Opens connections to an upstream that can't be connected to directly.
///
/// A Unix socket; the address still names the upstream, in the pool and to an [`Observer`](crate::Observer):
///
/// ```
/// use std::{net::SocketAddr, path::PathBuf, sync::Arc};
///
/// use proxy_core::{Connecting, Connector, Upstream, UpstreamStream};
/// use tokio::net::UnixStream;
///
/// struct UnixSocket(PathBuf);
///
/// impl Connector for UnixSocket {
///     fn connect(&self) -> Connecting {
///         let path = self.0.clone();
///         Box::pin(async move { Ok(UpstreamStream::new(UnixStream::connect(path).await?)) })
///     }
/// }
///
/// let socket = UnixSocket("/run/notebooks/7.sock".into());
/// let upstream = Upstream::new(SocketAddr::from(([127, 0, 0, 1], 7))).with_connector(Arc::new(socket));
/// # drop(upstream);
/// ```
///
/// TLS, by rustls:
///
/// ```
/// use std::net::SocketAddr;
///
/// use proxy_core::{Connecting, Connector, UpstreamStream};
/// use tokio::net::TcpStream;
/// use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
///
/// struct Tls {
///     address: SocketAddr,
///     name: ServerName<'static>,
///     connector: TlsConnector,
/// }
///
/// impl Connector for Tls {
///     fn connect(&self) -> Connecting {
///         let (address, name, connector) = (self.address, self.name.clone(), self.connector.clone());
///         Box::pin(async move {
///             let stream = TcpStream::connect(address).await?;
///             stream.set_nodelay(true)?;
///             Ok(UpstreamStream::new(connector.connect(name, stream).await?))
///         })
///     }
/// }
/// ```
pub trait Connector: Send + Sync + 'static {
    /// Opens a connection on which the upstream speaks HTTP/1.1.
    fn connect(&self) -> Connecting;
}

/// The future of [`Connector::connect`].
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<UpstreamStream>> + Send>>;

/// Why a route has no upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
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

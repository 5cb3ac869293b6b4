//! `Forward`: sends a request to its session and returns the session's response.

pub(crate) mod end_tunnel;
mod h1;
mod hop_by_hop;
mod localhost;
mod pool;
mod request;
mod response;
mod response_body;
mod response_timer;
mod sent_head;
pub(crate) mod settings;
mod tunnel;
mod upgrade;
mod upload;

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, request::Parts,
    uri::PathAndQuery,
};
use http_body::Body as HttpBody;
use tokio::time::{Instant, timeout};
use tower::Service;

use self::{
    h1::SendError,
    localhost::LocalhostNames,
    pool::{Pool, PoolKey, PooledConnection},
    sent_head::SentHead,
    settings::ForwardSettings,
    upgrade::Upgrade,
    upload::UploadProgress,
};
use crate::{
    body::{Body, BodyError},
    observer::{ConnectEvent, Observer, ResponseEvent},
    peer_addr::PeerAddr,
    refusal::{PlainRefusals, Refusal, RefusalContext, Refusals, Refused},
    resolver::{Connector, HostPolicy, Upstream},
};

/// Forwards a request to the [`Upstream`] in its extensions, and streams both bodies.
///
/// A request without an `Upstream` is refused with [`Refusal::NotFound`]. The crate's documentation lists
/// which headers are removed and added.
///
/// ```
/// use std::convert::Infallible;
///
/// use http::{Request, Response};
/// use http_body_util::BodyExt;
/// use proxy_core::{Body, Forward, ServeSettings, Upstream, serve};
/// use tokio::net::TcpListener;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let upstream = Upstream::new(listener.local_addr()?);
/// let server = service_fn(|request: Request<Body>| async move {
///     let client = request.headers().get("x-forwarded-host").map(|host| format!("{host:?}"));
///     Ok::<_, Infallible>(Response::new(Body::from(client.unwrap_or_default())))
/// });
/// tokio::spawn(serve(listener, server, ServeSettings::new(), std::future::pending()));
///
/// // `Resolve` adds the upstream; without owners, a closure is enough.
/// let proxy = ServiceBuilder::new()
///     .map_request(move |mut request: Request<Body>| {
///         request.extensions_mut().insert(upstream.clone());
///         request
///     })
///     .service(Forward::default());
/// let request = Request::get("/").header("host", "a.example").body(Body::empty())?;
/// let body = proxy.oneshot(request).await?.into_body();
/// let text = body.collect().await.map_err(anyhow::Error::from_boxed)?.to_bytes();
/// assert_eq!(text, "\"a.example\"");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Forward(Arc<Forwarder>);

impl Forward {
    /// Makes a service with its own pool, which its clones share; refuses with [`PlainRefusals`].
    #[must_use]
    pub fn new(settings: ForwardSettings) -> Self {
        Self::with_refusals(settings, Arc::new(PlainRefusals))
    }

    /// Makes a service that refuses with `refusals`.
    #[must_use]
    pub fn with_refusals(settings: ForwardSettings, refusals: Arc<dyn Refusals>) -> Self {
        Self(Arc::new(Forwarder { pool: Pool::new(&settings), settings, refusals, observer: None }))
    }

    /// Reports connections and responses to `observer`. Returns a service with a new pool.
    #[must_use]
    pub fn with_observer(self, observer: impl Observer) -> Self {
        let settings = self.0.settings.clone();
        let refusals = self.0.refusals.clone();
        let observer: Option<Arc<dyn Observer>> = Some(Arc::new(observer));
        Self(Arc::new(Forwarder { pool: Pool::new(&settings), settings, refusals, observer }))
    }
}

impl Default for Forward {
    fn default() -> Self {
        Self::new(ForwardSettings::default())
    }
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Forward").field(&self.0.settings).finish()
    }
}

impl<B> Service<Request<B>> for Forward
where
    B: HttpBody<Data = Bytes, Error: Into<BodyError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let request = request.map(Body::new);
        let forwarder = self.0.clone();
        Box::pin(async move { Ok(forwarder.forward(request).await) })
    }
}

struct Forwarder {
    pool: Arc<Pool>,
    settings: ForwardSettings,
    refusals: Arc<dyn Refusals>,
    observer: Option<Arc<dyn Observer>>,
}

impl Forwarder {
    async fn forward(&self, request: Request<Body>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let Some(mut upstream) = parts.extensions.remove::<Upstream>() else {
            return self.refuse(&Refusal::NotFound, &RefusalContext::from(&parts));
        };
        let Some(host) = host_of(&mut parts) else {
            let refusal = Refusal::Malformed("the request names no host\n");
            return self.refuse(&refusal, &RefusalContext::from(&parts));
        };
        if parts.method == Method::TRACE {
            // The response would contain the request as the session received it, password included (RFC 9110
            // §9.3.8).
            let refusal = Refusal::Malformed("TRACE is not supported\n");
            return self.refuse(&refusal, &RefusalContext::from(&parts));
        }
        let upgrade = match Upgrade::take(&mut parts) {
            Ok(upgrade) => upgrade,
            Err(refusal) => return self.refuse(&refusal, &RefusalContext::from(&parts)),
        };
        let own_headers = request::OwnHeaders {
            peer: parts.extensions.get::<PeerAddr>().map(|peer| peer.0),
            host: &host,
            proto: self.settings.public_proto,
            authorization: upstream.authorization.take(),
        };
        let protocol = upgrade.as_ref().and_then(|_| parts.headers.get(header::UPGRADE).cloned());
        request::scrub(&mut parts.headers, &self.settings.cookies, own_headers);
        let names = match upstream.host {
            HostPolicy::Public => None,
            HostPolicy::Localhost => {
                LocalhostNames::new(upstream.address, &host, self.settings.public_proto, &parts.headers)
            }
        };
        if let Some(names) = &names {
            names.map_request(&mut parts.headers);
        }
        if let Some(protocol) = protocol {
            parts.headers.remove(header::TE);
            parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(header::UPGRADE, protocol);
        }
        if parts.uri.authority().is_some() {
            let path = parts.uri.path_and_query().cloned();
            parts.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        }
        let is_repeatable = upgrade.is_none() && parts.method.is_idempotent() && body.is_end_stream();
        let key = PoolKey {
            address: upstream.address,
            pool: upstream.pool,
            has_connector: upstream.connector.is_some(),
        };
        let mut head = SentHead::new(&mut parts, is_repeatable);

        let (body, progress) = UploadProgress::of(body);
        parts.version = Version::HTTP_11;
        let request = Request::from_parts(parts, body);
        let sending = Sending {
            address: upstream.address,
            upstream: self.pool.upstream(key),
            connector: upstream.connector.as_deref(),
            progress,
            is_upgrade: upgrade.is_some(),
        };
        match self.send(sending, request, &head).await {
            Ok((response, connection)) => {
                let public = PublicNames { host: &host, local: names.as_ref() };
                self.answer(response, connection, upgrade, head, &public)
            }
            Err(refusal) => self.refuse(&refusal, &head.refusal_context()),
        }
    }

    fn refuse(&self, refusal: &Refusal, context: &RefusalContext<'_>) -> Response<Body> {
        let mut response = self.refusals.refuse(refusal, context);
        response.extensions_mut().insert(Refused);
        response
    }

    /// Sends the request, on an idle connection if there is one. If that connection turns out to be closed,
    /// the request is sent again, provided that it was not sent yet or is idempotent.
    async fn send(
        &self,
        sending: Sending<'_>,
        mut request: Request<Body>,
        head: &SentHead,
    ) -> Result<(Response<()>, PooledConnection), Refusal> {
        let upload = sending.progress.as_ref();
        let mut use_idle = !sending.is_upgrade;
        while use_idle && let Some(mut pooled) = sending.upstream.check_out() {
            let started = self.observer.as_ref().map(|_| Instant::now());
            match pooled.connection.send(request, upload).await {
                Ok(response) => {
                    self.observe_response(&sending, head, started, &response, true);
                    return Ok((response, pooled));
                }
                Err(SendError::Unsent(unsent)) => request = *unsent,
                // A server that does not speak HTTP would not do so the second time either.
                Err(SendError::Failed(error)) if head.is_repeatable && !error.is_parse() => {
                    (request, use_idle) = (head.to_request(), false);
                }
                Err(SendError::Failed(error)) => return Err(sending.failed(error)),
                Err(SendError::TimedOut) => return Err(Refusal::TimedOut),
            }
        }
        // Boxed because it is rare and larger than the rest of every request's future.
        let mut pooled = Box::pin(self.connect(&sending, head)).await?;
        let started = self.observer.as_ref().map(|_| Instant::now());
        match pooled.connection.send(request, upload).await {
            Ok(response) => {
                self.observe_response(&sending, head, started, &response, false);
                Ok((response, pooled))
            }
            Err(SendError::Failed(error)) => Err(sending.failed(error)),
            Err(SendError::Unsent(_)) => Err(unreachable(h1::Error::Closed)),
            Err(SendError::TimedOut) => Err(Refusal::TimedOut),
        }
    }

    async fn connect(&self, sending: &Sending<'_>, head: &SentHead) -> Result<PooledConnection, Refusal> {
        let started = Instant::now();
        let connecting = timeout(self.settings.connect_timeout, sending.upstream.connect(sending.connector));
        let result =
            connecting.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
        if let Some(observer) = &self.observer {
            observer.connected(&ConnectEvent {
                upstream: sending.address,
                extensions: &head.extensions,
                elapsed: started.elapsed(),
                error: result.as_ref().err().map(|error| &**error),
            });
        }
        result.map_err(|error| {
            let is_timeout =
                error.downcast_ref::<io::Error>().map(io::Error::kind) == Some(io::ErrorKind::TimedOut);
            if is_timeout { Refusal::TimedOut } else { unreachable(error) }
        })
    }

    fn observe_response(
        &self,
        sending: &Sending<'_>,
        head: &SentHead,
        started: Option<Instant>,
        response: &Response<()>,
        is_reused: bool,
    ) {
        if let (Some(observer), Some(started)) = (&self.observer, started) {
            observer.responded(&ResponseEvent {
                upstream: sending.address,
                extensions: &head.extensions,
                status: response.status(),
                elapsed: started.elapsed(),
                is_reused,
            });
        }
    }

    fn answer(
        &self,
        response: Response<()>,
        pooled: PooledConnection,
        upgrade: Option<Upgrade>,
        mut head: SentHead,
        names: &PublicNames<'_>,
    ) -> Response<Body> {
        let (mut parts, ()) = response.into_parts();
        let protocol = parts.headers.get(header::UPGRADE).cloned();
        if let Some(local) = names.local {
            local.map_response(&mut parts.headers);
        }
        let origin = names.local.and_then(LocalhostNames::origin);
        response::scrub(&mut parts.headers, &self.settings.cookies, head.uri.path(), names.host, origin);
        parts.version = Version::HTTP_11;
        if upgrade.as_ref().is_some_and(|upgrade| upgrade.is_connect) && parts.status.is_success() {
            // Over HTTP/2 a success would open the tunnel, but the session responded with a page.
            return self.refuse(&unreachable("no WebSocket"), &head.refusal_context());
        }
        if parts.status != StatusCode::SWITCHING_PROTOCOLS {
            parts.extensions.clear();
            return Response::from_parts(parts, response_body::receive(pooled));
        }
        let Some(upgrade) = upgrade else {
            return self.refuse(&unreachable("unexpected switch of protocols"), &head.refusal_context());
        };
        parts.extensions.clear();
        upgrade.start(*pooled.connection, &mut parts, protocol);
        Response::from_parts(parts, Body::empty())
    }
}

/// How a request is sent.
struct Sending<'a> {
    address: SocketAddr,
    upstream: pool::Upstream,
    connector: Option<&'a dyn Connector>,
    progress: Option<UploadProgress>,
    is_upgrade: bool,
}

impl Sending<'_> {
    /// Returns the refusal of a request that failed. If its upload failed, the client is at fault and not the
    /// session.
    fn failed(&self, error: h1::Error) -> Refusal {
        if self.progress.as_ref().is_some_and(UploadProgress::has_failed) {
            return Refusal::Malformed("the request's body is malformed or incomplete\n");
        }
        unreachable(error)
    }
}

/// The names by which the browser knows the server.
struct PublicNames<'a> {
    host: &'a HeaderValue,
    /// If the server knows itself by another name.
    local: Option<&'a LocalhostNames>,
}

/// Returns the `Host`, which is set if only an authority names it (RFC 9113 §8.3.1); `HostRouter` does the
/// same.
fn host_of(parts: &mut Parts) -> Option<HeaderValue> {
    if let Some(host) = parts.headers.get(header::HOST) {
        return Some(host.clone());
    }
    let authority = parts.uri.authority()?.as_str();
    // With a user's name, it is no host.
    let host = HeaderValue::from_str(authority).ok().filter(|_| !authority.contains('@'))?;
    parts.headers.insert(header::HOST, host.clone());
    Some(host)
}

fn unreachable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Refusal {
    tracing::debug!(error = %error.into(), "request to a session failed");
    Refusal::Unreachable
}

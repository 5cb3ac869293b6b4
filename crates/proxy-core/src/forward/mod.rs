//! `Forward`: carries a request to its session and the answer back.

mod hop;
mod pool;
mod request;
mod response;
mod tunnel;
mod upload;

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
    request::Parts, uri::PathAndQuery,
};
use http_body::Body as _;
use hyper::{body::Incoming, client::conn::http1::SendRequest, ext::Protocol, upgrade::OnUpgrade};
use tokio::time::timeout;
use tower_service::Service;

pub(crate) use self::pool::PooledConnection;
use self::{pool::Pool, tunnel::Tap, upload::UploadProgress};
use crate::{
    Body, PeerAddr, Refusal, Refusals, Upstream,
    activity::ActivityHandle,
    cookies::Cookies,
    refusal::{PlainRefusals, Refused},
    serve::ConnectionHandle,
    websocket::FrameReader,
};

/// Numbers and names of [`Forward`].
#[derive(Debug, Clone)]
pub struct ForwardSettings {
    /// How long opening a connection may take (default 5 s).
    pub connect_timeout: Duration,
    /// How long the response's head may take once the request was sent, or its upload has come to a halt (default
    /// 5 min: an agent may think).
    /// Bodies, event streams and tunnels have no limit.
    pub header_timeout: Duration,
    /// Idle connections kept per upstream (default 64).
    pub idle_per_upstream: usize,
    /// How long an idle connection is kept (default 30 s).
    pub idle_timeout: Duration,
    /// Cookies that no session sees.
    pub cookies: Cookies,
    /// `X-Forwarded-Proto`: how browsers reach the router.
    pub public_proto: &'static str,
}

impl Default for ForwardSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(300),
            idle_per_upstream: 64,
            idle_timeout: Duration::from_secs(30),
            cookies: Cookies::default(),
            public_proto: "https",
        }
    }
}

/// Carries a request to the [`Upstream`] in its extensions, and the answer back, streaming both.
///
/// Without an `Upstream` the answer is [`Refusal::NotFound`]. See the crate's page for what it removes and adds.
#[derive(Clone)]
pub struct Forward(Arc<Inner>);

struct Inner {
    pool: Arc<Pool>,
    settings: ForwardSettings,
    refusals: Arc<dyn Refusals>,
}

impl Forward {
    /// A service with a pool of its own; clones share it.
    #[must_use]
    pub fn new(settings: ForwardSettings) -> Self {
        Self::with_refusals(settings, Arc::new(PlainRefusals))
    }

    /// The same, with refusals of one's own.
    #[must_use]
    pub fn with_refusals(settings: ForwardSettings, refusals: Arc<dyn Refusals>) -> Self {
        let pool = Arc::new(Pool::new(settings.idle_per_upstream, settings.idle_timeout));
        Self(Arc::new(Inner { pool, settings, refusals }))
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

impl Service<Request<Body>> for Forward {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move { Ok(inner.forward(request).await) })
    }
}

/// What a request asks to become.
struct Upgrade {
    down: OnUpgrade,
    tap: Option<Tap>,
    lifetime: Option<ConnectionHandle>,
    /// An extended CONNECT of HTTP/2 (RFC 8441): answered 200, not 101.
    connect: bool,
}

impl Inner {
    async fn forward(&self, request: Request<Body>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let Some(upstream) = parts.extensions.remove::<Upstream>() else {
            return self.refuse(&Refusal::NotFound, &parts);
        };
        let Some(host) = parts.headers.get(header::HOST).cloned() else {
            return self.refuse(&Refusal::Malformed("the request names no host\n"), &parts);
        };
        let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        if parts.method == Method::TRACE {
            // Its answer would be the request as the session got it, password included (RFC 9110 §9.3.8).
            return self.refuse(&Refusal::Malformed("TRACE is not forwarded\n"), &parts);
        }
        let upgrade = match self.take_upgrade(&mut parts) {
            Ok(upgrade) => upgrade,
            Err(refusal) => return self.refuse(&refusal, &parts),
        };
        let facts = request::Facts {
            peer: parts.extensions.get::<PeerAddr>().map(|peer| peer.0),
            host: &host,
            proto: self.settings.public_proto,
            authorization: upstream.authorization.as_ref(),
        };
        let upgrade_to = upgrade.as_ref().and_then(|_| parts.headers.get(header::UPGRADE).cloned());
        request::scrub(&mut parts.headers, &self.settings.cookies, &facts);
        if let Some(protocol) = upgrade_to {
            parts.headers.remove(header::TE);
            parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(header::UPGRADE, protocol);
        }
        parts.uri = Uri::from(path);
        let repeatable = upgrade.is_none() && parts.method.is_idempotent() && body.is_end_stream();
        let head = Head::of(&parts, repeatable);

        let (body, progress) = UploadProgress::of(body);
        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.uri_mut() = parts.uri;
        *request.headers_mut() = parts.headers;
        let sending = self.send(upstream.address, request, &head, upgrade.is_some());
        match upload::in_time(self.settings.header_timeout, progress, sending).await {
            Ok(sent) => self.answer(sent, upgrade, upstream.address, head, &host),
            Err(refusal) => self.refuse(&refusal, &head.into_parts()),
        }
    }

    fn refuse(&self, refusal: &Refusal, parts: &Parts) -> Response<Body> {
        let mut response = self.refusals.refuse(refusal, parts);
        response.extensions_mut().insert(Refused);
        response
    }

    /// Recognises a request to upgrade, and takes its other end.
    fn take_upgrade(&self, parts: &mut Parts) -> Result<Option<Upgrade>, Refusal> {
        let connect = parts.method == Method::CONNECT;
        if connect {
            let websocket =
                parts.extensions.get::<Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket");
            if !websocket {
                return Err(Refusal::Malformed("CONNECT is for WebSockets alone here\n"));
            }
            parts.method = Method::GET;
            parts.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            // Nobody checks it: HTTP/2 has no handshake of keys (RFC 8441 §5).
            parts
                .headers
                .insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        } else if !hop::wants_upgrade(&parts.headers) {
            return Ok(None);
        }
        let Some(down) = parts.extensions.remove::<OnUpgrade>() else {
            return Err(Refusal::Malformed("this connection can't be upgraded\n"));
        };
        let websocket = parts
            .headers
            .get(header::UPGRADE)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
        let tap = parts.extensions.get::<ActivityHandle>().cloned().map(|touch| match websocket {
            true => Tap::WebSocket(touch, FrameReader::default()),
            false => Tap::Bytes(touch),
        });
        Ok(Some(Upgrade {
            down,
            tap,
            lifetime: parts.extensions.get::<ConnectionHandle>().cloned(),
            connect,
        }))
    }

    /// Sends the request, on an idle connection where there is one. One that was closed meanwhile is no
    /// failure: what was not sent is sent again, and what was is too where doing it twice is doing it once.
    async fn send(
        &self,
        to: SocketAddr,
        mut request: Request<Body>,
        head: &Head,
        upgrade: bool,
    ) -> Result<(Response<Incoming>, SendRequest<Body>), Refusal> {
        let mut fresh = upgrade;
        while !fresh && let Some(mut sender) = self.pool.take(to).await {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, sender)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    // Answered with something else than HTTP, it would be again.
                    None if head.repeatable && !error.error().is_parse() => {
                        (request, fresh) = (head.to_request(), true);
                    }
                    None => return Err(unreachable(error.into_error())),
                },
            }
        }
        // Seldom, and larger than all the rest: not a part of every request's future.
        let connecting = Box::pin(timeout(self.settings.connect_timeout, pool::connect(to)));
        let mut sender = connecting.await.map_err(|_| Refusal::TimedOut)?.map_err(unreachable)?;
        let response = sender.send_request(request).await.map_err(unreachable)?;
        Ok((response, sender))
    }

    fn answer(
        &self,
        (response, sender): (Response<Incoming>, SendRequest<Body>),
        upgrade: Option<Upgrade>,
        to: SocketAddr,
        head: Head,
        host: &HeaderValue,
    ) -> Response<Body> {
        let (mut parts, body) = response.into_parts();
        let protocol = parts.headers.get(header::UPGRADE).cloned();
        response::scrub(&mut parts.headers, &self.settings.cookies, head.uri.path(), host);
        parts.version = Version::HTTP_11;
        if upgrade.as_ref().is_some_and(|upgrade| upgrade.connect) && parts.status.is_success() {
            // Over HTTP/2 a success is the tunnel itself; here it is a page.
            return self.refuse(&unreachable("it answered a WebSocket with a page"), &head.into_parts());
        }
        if parts.status != StatusCode::SWITCHING_PROTOCOLS {
            let back = PooledConnection { pool: self.pool.clone(), to, sender };
            parts.extensions.clear();
            return Response::from_parts(parts, Body::pooled(body, back));
        }
        let (Some(upgrade), Some(up)) = (upgrade, parts.extensions.remove::<OnUpgrade>()) else {
            return self.refuse(&unreachable("it switched protocols unasked"), &head.into_parts());
        };
        if upgrade.connect {
            parts.status = StatusCode::OK;
            parts.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        } else {
            parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.extend(protocol.map(|protocol| (header::UPGRADE, protocol)));
        }
        let task = tunnel::run(upgrade.down, up, upgrade.tap, upgrade.lifetime.clone());
        match upgrade.lifetime {
            Some(lifetime) => lifetime.spawn(task),
            None => drop(tokio::spawn(task)),
        }
        Response::from_parts(parts, Body::empty())
    }
}

fn unreachable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Refusal {
    tracing::debug!(error = %error.into(), "a session could not be asked");
    Refusal::Unreachable
}

/// What is kept of a request that was sent: to send it again, or to say of what it was.
struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    repeatable: bool,
}

impl Head {
    fn of(parts: &Parts, repeatable: bool) -> Self {
        let headers = if repeatable {
            parts.headers.clone()
        } else {
            let shown =
                SHOWN.iter().filter_map(|name| Some((name.clone(), parts.headers.get(name)?.clone())));
            shown.collect()
        };
        Self { method: parts.method.clone(), uri: parts.uri.clone(), headers, repeatable }
    }

    fn to_request(&self) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// For a refusal: without the session's password, which is among the headers by now.
    fn into_parts(self) -> Parts {
        let mut parts = Request::new(()).into_parts().0;
        (parts.method, parts.uri, parts.headers) = (self.method, self.uri, self.headers);
        parts.headers.remove(header::AUTHORIZATION);
        parts
    }
}

/// Headers that a refusal may be made by.
static SHOWN: [HeaderName; 6] = [
    header::ACCEPT,
    header::HOST,
    header::UPGRADE,
    HeaderName::from_static("sec-fetch-dest"),
    HeaderName::from_static("sec-fetch-mode"),
    HeaderName::from_static("x-request-id"),
];

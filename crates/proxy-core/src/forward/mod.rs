//! `Forward`: sends a request to its session and returns the session's response.

pub(crate) mod end_tunnel;
mod hop_by_hop;
mod localhost;
mod pool;
mod request;
mod response;
mod sent_head;
pub(crate) mod settings;
mod tunnel;
mod upgrade;
mod upload;

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, uri::PathAndQuery};
use http_body::Body as _;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use session_key::SessionRoute;
use tokio::time::timeout;
use tower::Service;

use self::{
    localhost::LocalhostNames,
    pool::{Pool, PoolKey, PooledConnection},
    sent_head::SentHead,
    settings::ForwardSettings,
    upgrade::Upgrade,
    upload::UploadProgress,
};
use crate::{
    body::Body,
    peer_addr::PeerAddr,
    refusal::{PlainRefusals, Refusal, RefusalContext, Refusals, Refused},
    resolver::{Connector, HostPolicy, Upstream},
};

/// Forwards a request to the [`Upstream`] in its extensions, and streams both bodies.
///
/// A request without an `Upstream` is refused with [`Refusal::NotFound`]. The crate's documentation lists
/// which headers are removed and added.
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
        let pool = Arc::new(Pool::new(settings.idle_per_upstream, settings.idle_timeout));
        Self(Arc::new(Forwarder { pool, settings, refusals }))
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
        let forwarder = self.0.clone();
        Box::pin(async move { Ok(forwarder.forward(request).await) })
    }
}

struct Forwarder {
    pool: Arc<Pool>,
    settings: ForwardSettings,
    refusals: Arc<dyn Refusals>,
}

impl Forwarder {
    async fn forward(&self, request: Request<Body>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let Some(upstream) = parts.extensions.remove::<Upstream>() else {
            return self.refuse(&Refusal::NotFound, &RefusalContext::from(&parts));
        };
        let Some(host) = parts.headers.get(header::HOST).cloned() else {
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
            authorization: upstream.authorization.as_ref(),
        };
        let protocol = upgrade.as_ref().and_then(|_| parts.headers.get(header::UPGRADE).cloned());
        request::scrub(&mut parts.headers, &self.settings.cookies, &own_headers);
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
        let path = parts.uri.path_and_query().cloned();
        parts.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        let is_repeatable = upgrade.is_none() && parts.method.is_idempotent() && body.is_end_stream();
        let key = PoolKey {
            address: upstream.address,
            session: parts.extensions.get::<SessionRoute>().map(|route| route.hash),
            has_connector: upstream.connector.is_some(),
        };
        let mut head = SentHead::new(&mut parts, is_repeatable);

        let (body, progress) = UploadProgress::of(body);
        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.uri_mut() = parts.uri;
        *request.headers_mut() = parts.headers;
        let sending = self.send(key, upstream.connector.as_deref(), request, &head, upgrade.is_some());
        match upload::with_timeout(self.settings.header_timeout, progress, sending).await {
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
        upstream: PoolKey,
        connector: Option<&dyn Connector>,
        mut request: Request<Body>,
        head: &SentHead,
        is_upgrade: bool,
    ) -> Result<(Response<Incoming>, PooledConnection), Refusal> {
        let mut use_idle = !is_upgrade;
        while use_idle && let Some(mut connection) = self.pool.check_out(upstream).await {
            match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, connection)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    // A server that does not speak HTTP would not do so the second time either.
                    None if head.is_repeatable && !error.error().is_parse() => {
                        (request, use_idle) = (head.to_request(), false);
                    }
                    None => return Err(unreachable(error.into_error())),
                },
            }
        }
        // Boxed because it is rare and larger than the rest of every request's future.
        let connecting =
            Box::pin(timeout(self.settings.connect_timeout, self.pool.connect(upstream, connector)));
        let mut connection = connecting.await.map_err(|_| Refusal::TimedOut)?.map_err(unreachable)?;
        let response = connection.sender.send_request(request).await.map_err(unreachable)?;
        Ok((response, connection))
    }

    fn answer(
        &self,
        response: Response<Incoming>,
        connection: PooledConnection,
        upgrade: Option<Upgrade>,
        mut head: SentHead,
        names: &PublicNames<'_>,
    ) -> Response<Body> {
        let (mut parts, body) = response.into_parts();
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
            return Response::from_parts(parts, Body::received(body, move || connection.check_in()));
        }
        let (Some(upgrade), Some(session)) = (upgrade, parts.extensions.remove::<OnUpgrade>()) else {
            return self.refuse(&unreachable("unexpected switch of protocols"), &head.refusal_context());
        };
        upgrade.start(session, &mut parts, protocol);
        Response::from_parts(parts, Body::empty())
    }
}

/// The names by which the browser knows the server.
struct PublicNames<'a> {
    host: &'a HeaderValue,
    /// If the server knows itself by another name.
    local: Option<&'a LocalhostNames>,
}

fn unreachable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Refusal {
    tracing::debug!(error = %error.into(), "request to a session failed");
    Refusal::Unreachable
}

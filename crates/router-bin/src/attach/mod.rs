//! Attach hosts: a token takes the place of the sign-in.
//!
//! - [`Attach`] checks the token, and passes the request on in the owner's name
//! - `credentials` reads the token; `limiter` limits failures; `revocable` ends what a token let in
//!
//! Behind it is the same stack as behind a session's host.

mod credentials;
mod limiter;
mod revocable;

use std::{
    convert::Infallible,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
};

use api::server::{AuditAction, error_response};
use futures_util::future::{BoxFuture, Either};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use pod_manager::{AttachGrant, manager::Manager};
use proxy_core::{Body, EndTunnelWhen, PeerAddr, Refusal, RefusalContext, Refusals};
use session_key::{SessionRoute, Target};
use tower::Service;

use self::limiter::FailureLimiter;
use crate::{
    audit::Audit,
    metrics::{AttachOutcome, Metrics},
    request_id,
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Where the TypeScript router accepted a password. A client that still sends one does not send it further.
const X_ATTACH_PASSWORD: HeaderName = HeaderName::from_static("x-attach-password");

/// What checks the tokens.
pub(crate) struct AttachGate {
    manager: Arc<Manager>,
    refusals: Arc<dyn Refusals>,
    audit: Arc<Audit>,
    metrics: Arc<Metrics>,
    limiter: FailureLimiter,
}

impl AttachGate {
    /// Returns a gate for the manager's sessions.
    pub(crate) fn new(
        manager: Arc<Manager>,
        refusals: Arc<dyn Refusals>,
        audit: Arc<Audit>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self { manager, refusals, audit, metrics, limiter: FailureLimiter::new() })
    }

    /// Checks the token of a request to an attach host, and removes it from the request.
    fn admit(
        &self,
        route: &SessionRoute,
        request: &mut Request<Body>,
    ) -> Result<AttachGrant, Box<Response<Body>>> {
        if is_of_browser(request.headers()) {
            self.metrics.record_attach(AttachOutcome::Browser);
            return Err(self.refusals.refuse(&Refusal::CrossOrigin, &RefusalContext::from(&*request)).into());
        }
        let headers = request.headers_mut();
        headers.remove(X_ATTACH_PASSWORD);
        let secret = credentials::secret(headers);
        headers.remove(header::AUTHORIZATION);
        let Some(secret) = secret else {
            // Some programs send a password only after they were asked for one, so this is no failure.
            self.metrics.record_attach(AttachOutcome::Missing);
            return Err(unauthorized(request_id::of(request.extensions())).into());
        };
        if let Some(grant) = self.manager.attach_grant(route.hash, &secret) {
            self.metrics.record_attach(AttachOutcome::Accepted);
            return Ok(grant);
        }
        // Only failures are limited: who has a valid token can't be locked out by others.
        let peer = request.extensions().get::<PeerAddr>().map(|peer| peer.0.ip().to_canonical());
        if let Err(seconds) = self.limiter.fail(route.hash, peer.unwrap_or(IpAddr::from([0; 4]))) {
            self.metrics.record_attach(AttachOutcome::Limited);
            return Err(too_many_failures(request_id::of(request.extensions()), seconds).into());
        }
        self.metrics.record_attach(AttachOutcome::Refused);
        let id = request_id::of(request.extensions());
        self.audit.write(AuditAction::Refused, None, Some(route.hash), id, Some("attach_unauthorized"));
        Err(unauthorized(id).into())
    }

    /// Writes an audit line if a client opens the event stream, which each does when it attaches.
    fn audit_attached(&self, route: &SessionRoute, grant: &AttachGrant, request: &Request<Body>) {
        if *request.method() == Method::GET && matches!(request.uri().path(), "/event" | "/global/event") {
            let id = request_id::of(request.extensions());
            self.audit.write(AuditAction::Attached, Some(&grant.owner), Some(route.hash), id, None);
        }
    }
}

/// Whether a browser sent the request. Attach hosts are for programs: a browser would keep the token and
/// send it along for other pages. All current browsers mark their requests, over https and to localhost;
/// requests of pages of another origin are refused by `SameOrigin` as well.
fn is_of_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(SEC_FETCH_SITE)
}

/// Separates attach hosts from the others: their requests need a token, and those of all other hosts a user
/// who is signed in.
#[derive(Clone)]
pub(crate) struct Attach<A, S> {
    gate: Arc<AttachGate>,
    attached: A,
    others: S,
}

impl<A, S> Attach<A, S> {
    /// Passes requests of attach hosts on to `attached`, with the owner's identity, and other requests to
    /// `others`.
    pub(crate) fn new(gate: Arc<AttachGate>, attached: A, others: S) -> Self {
        Self { gate, attached, others }
    }
}

impl<A, S> Service<Request<Body>> for Attach<A, S>
where
    A: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<BoxFuture<'static, Result<Response<Body>, Infallible>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match self.attached.poll_ready(context) {
            Poll::Ready(_) => self.others.poll_ready(context),
            Poll::Pending => Poll::Pending,
        }
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let route = request.extensions().get::<SessionRoute>().copied();
        let Some(route) = route.filter(|route| route.target == Target::Attach) else {
            return Either::Right(self.others.call(request));
        };
        let grant = match self.gate.admit(&route, &mut request) {
            Ok(grant) => grant,
            Err(refused) => return Either::Left(Box::pin(async { Ok(*refused) })),
        };
        self.gate.audit_attached(&route, &grant, &request);
        let extensions = request.extensions_mut();
        extensions.insert(grant.owner.clone());
        extensions.insert(EndTunnelWhen::new(grant.clone().ended()));
        let id = request_id::of(request.extensions()).to_owned();
        let responding = self.attached.call(request);
        Either::Left(Box::pin(async move {
            // A request may wait for its session to start for minutes.
            tokio::select! {
                biased;
                Ok(response) = responding => Ok(revocable::limit(response, grant)),
                () = grant.clone().ended() => Ok(unauthorized(&id)),
            }
        }))
    }
}

/// Returns the answer to a missing or wrong token. It does not depend on whether the session exists.
fn unauthorized(request_id: &str) -> Response<Body> {
    let text = "The attach token is missing, wrong or expired. Create one in the session's menu on the site, \
                and pass it as the password.";
    let mut response = refused(request_id, StatusCode::UNAUTHORIZED, "attach_unauthorized", text);
    let challenge = HeaderValue::from_static("Basic realm=\"opencode attach\", charset=\"UTF-8\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn too_many_failures(request_id: &str, seconds: u32) -> Response<Body> {
    let text = format!("Too many wrong attach tokens. Try again in {seconds} seconds.");
    let mut response = refused(request_id, StatusCode::TOO_MANY_REQUESTS, "too_many_failures", &text);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn refused(request_id: &str, status: StatusCode, code: &str, text: &str) -> Response<Body> {
    let id = Some(request_id).filter(|id| !id.is_empty());
    let mut response = error_response(status, code, text, id);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

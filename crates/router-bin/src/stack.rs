//! The way of a request through the layers.
//!
//! The order matters. A refusal is not activity, so every layer that refuses stands outside `TrackActivity`.
//! A request whose user is unknown gets no answer about sessions, so `Identify` stands outside `Resolve`.

use std::{convert::Infallible, future::ready, sync::Arc, time::Duration};

use api::server::{Administrator, AuditAction, Github, error_response, is_secret_route};
use axum::{Router, middleware};
use futures_util::{TryFutureExt as _, future::Either};
use http::{Request, Response, StatusCode};
use pod_manager::manager::Manager;
use proxy_core::{
    AccessToken, Body, Cookies, Forward, ForwardSettings, Groups, HostRouter, IdentifyLayer,
    IdentityExtractor, Refusal, RefusalContext, Refusals, ReplayEventsLayer, ResolveLayer, SameOriginLayer,
    TrackActivityLayer,
};
use session_key::{HostScheme, Identity, SessionRoute};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt as _, service_fn};
use tower_http::csrf::{CsrfLayer, ProtectionError};

use crate::{
    administrators::Administrators,
    attach::{Attach, AttachGate},
    audit::{self, Audit},
    catch_panic::CatchPanic,
    credentials,
    event_logs::SessionEventLogs,
    metrics::Metrics,
    observe::ObserveLayer,
    on_runtime::OnRuntime,
    refusals::is_navigation,
    request_id::{self, RequestIds, identified},
    resolver::{PortAccess, SessionResolver},
    site::{self, Site},
    telemetry::RequestTracer,
    waker::SessionWaker,
};

/// How long a client waits before it opens a broken event stream again. opencode's page waits 3 s by
/// default, and doubles that at each attempt, for as long as it is open: the less at first, the more breaks
/// it survives without a long pause.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// The parts that [`stack`] is built from. All stacks of a router share them.
#[derive(Clone)]
pub struct StackParts {
    /// Knows the sessions.
    pub manager: Arc<Manager>,
    /// The routes under `/api`.
    pub api: Router,
    /// The routes that have a secret instead of a sign-in.
    pub secret_routes: Router,
    /// The pages.
    pub site: Arc<Site>,
    /// Identifies the user of a request.
    pub identity: Arc<dyn IdentityExtractor>,
    /// Makes the responses to refused requests.
    pub refusals: Arc<dyn Refusals>,
    /// Who may use the routes under `/api/admin`.
    pub administrators: Administrators,
    /// The host names.
    pub scheme: Arc<HostScheme>,
    /// `http` or `https`, as browsers see it.
    pub proto: &'static str,
    /// Which ports of sessions may be reached.
    pub ports: PortAccess,
    /// Whether requests start sessions that are stopped.
    pub wake: bool,
    /// Knows by whom the commits of a session are that a request starts.
    pub github: Github,
    /// Counts requests.
    pub metrics: Arc<Metrics>,
    /// Makes spans of requests, if they are traced.
    pub(crate) traces: Option<RequestTracer>,
    /// Writes audit lines.
    pub audit: Arc<Audit>,
    /// The sign-in's cookies, which sessions neither see nor set.
    pub cookies: Cookies,
    /// Whether the names of each request's headers are logged.
    pub debug_headers: bool,
    /// Ends event streams when cancelled.
    pub shutdown: CancellationToken,
    /// Ends held requests when cancelled.
    pub release_held: CancellationToken,
    /// Checks attach tokens.
    pub(crate) gate: Arc<AttachGate>,
    /// Runs the API and the site, and starts sessions.
    pub runtime: Handle,
}

/// A service that a listener can serve.
pub trait HttpService:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> HttpService for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// Returns the service of the public listeners, for all host names, and that of the attach listener, which
/// serves attach hosts only: no sign-in is in front of it.
pub fn stack(parts: StackParts) -> (impl HttpService, impl HttpService) {
    // Each stack has its own ids, counts and connections, so that cores do not contend for them.
    let (ids, counts) = (RequestIds::new(), parts.metrics.request_counts());
    let refusals = parts.refusals;
    let resolver = Arc::new(SessionResolver::new(parts.manager.clone(), parts.ports));
    let logs = Arc::new(SessionEventLogs { manager: parts.manager.clone(), metrics: parts.metrics.clone() });
    let identify = IdentifyLayer::new(parts.identity).with_refusals(refusals.clone());
    let observe = ObserveLayer::new(
        counts.clone(),
        parts.metrics.clone(),
        parts.traces,
        parts.shutdown.clone(),
        parts.debug_headers,
    );
    let forward =
        ForwardSettings { public_proto: parts.proto, cookies: parts.cookies, ..ForwardSettings::default() };

    let mut resolve = ResolveLayer::new(resolver.clone()).with_refusals(refusals.clone());
    if parts.wake {
        resolve = resolve.with_wake(Arc::new(SessionWaker {
            manager: parts.manager,
            github: parts.github,
            audit: parts.audit.clone(),
            metrics: parts.metrics.clone(),
            release: parts.release_held,
            runtime: parts.runtime.clone(),
        }));
    }

    let signed_in = ServiceBuilder::new()
        .layer(identify.clone())
        .map_request(insert_credentials)
        .map_request(move |request| mark_administrator(&parts.administrators, request))
        .service(api_and_site(parts.api, parts.site, parts.audit.clone()));
    let site = ServiceBuilder::new()
        .layer(observe.clone())
        .map_response(harden)
        .layer(CsrfLayer::new().with_rejection_response(cross_origin))
        .service(OnRuntime::new(
            before_sign_in(parts.secret_routes, signed_in, parts.audit.clone()),
            parts.runtime,
        ));
    let identified_session = ServiceBuilder::new()
        .layer(SameOriginLayer::new().with_refusals(refusals.clone()))
        .layer(resolve)
        .map_request(move |request| audit_navigation(&parts.audit, request))
        .layer(TrackActivityLayer::new(resolver))
        .layer(ReplayEventsLayer::new(logs).with_retry(RECONNECT_PAUSE))
        .service(Forward::with_refusals(forward, refusals.clone()));
    let session = observe.layer(Attach::new(
        parts.gate.clone(),
        identified_session.clone(),
        identify.layer(identified_session.clone()),
    ));
    let unknown = unknown_host(refusals.clone());
    let attach = observe.layer(Attach::new(parts.gate, identified_session, unknown.clone()));

    let public = HostRouter::new(parts.scheme.clone(), session, site).with_refusals(refusals.clone());
    let attach = HostRouter::new(parts.scheme, attach, unknown).with_refusals(refusals);
    (
        identified(CatchPanic::new(public, counts.clone()), ids.clone()),
        identified(CatchPanic::new(attach, counts), ids),
    )
}

/// Returns a service that answers every request as one to an unknown host.
fn unknown_host(refusals: Arc<dyn Refusals>) -> impl HttpService {
    service_fn(move |request: Request<Body>| {
        ready(Ok(refusals.refuse(&Refusal::UnknownHost, &RefusalContext::from(&request))))
    })
}

/// Returns a service that answers the routes with a secret of their own, and leaves all else to `signed_in`.
fn before_sign_in(secret_routes: Router, signed_in: impl HttpService, audit: Arc<Audit>) -> impl HttpService {
    let secret_routes = secret_routes.layer(middleware::from_fn_with_state(audit, audit::middleware));
    service_fn(move |request: Request<Body>| {
        if is_secret_route(request.method(), request.uri().path(), request.headers()) {
            let response = secret_routes.clone().oneshot(request);
            return Either::Left(response.map_ok(|response| response.map(Body::new)));
        }
        Either::Right(signed_in.clone().oneshot(request))
    })
}

/// Returns the service of the site's host: `/api`, else the pages.
fn api_and_site(api: Router, site: Arc<Site>, audit: Arc<Audit>) -> impl HttpService {
    let pages = move |request: axum::extract::Request| {
        let response = site.respond(request.method(), request.uri().path(), request.headers());
        async move { response }
    };
    let routes = api.layer(middleware::from_fn_with_state(audit, audit::middleware)).fallback(pages);
    ServiceBuilder::new()
        .map_response(|response: axum::response::Response| response.map(Body::new))
        .service(routes)
}

/// Converts the user's access token to the type that the API reads.
fn insert_credentials(mut request: Request<Body>) -> Request<Body> {
    let credentials = credentials::of(request.extensions());
    request.extensions_mut().remove::<AccessToken>();
    request.extensions_mut().insert(credentials);
    request
}

/// Tells the API if the user is an administrator.
fn mark_administrator(administrators: &Administrators, mut request: Request<Body>) -> Request<Body> {
    let extensions = request.extensions_mut();
    let groups = extensions.remove::<Groups>();
    let is_administrator =
        extensions.get().is_some_and(|user: &Identity| administrators.contain(user, groups.as_ref()));
    if is_administrator {
        extensions.insert(Administrator);
    }
    request
}

fn harden(mut response: Response<Body>) -> Response<Body> {
    site::harden(response.headers_mut());
    response
}

/// Refuses a change that a page of another origin asked for; sessions' pages are other origins, too.
fn cross_origin(_: ProtectionError) -> Response<Body> {
    let text = "Requests from another site's page are refused.";
    error_response(StatusCode::FORBIDDEN, "cross_origin", text, None)
}

/// Writes an audit line if a browser opens a page of a running session.
fn audit_navigation(audit: &Audit, request: Request<Body>) -> Request<Body> {
    if is_navigation(request.method(), request.headers()) {
        let extensions = request.extensions();
        let hash = extensions.get::<SessionRoute>().map(|route| route.hash);
        let (user, id) = (extensions.get::<Identity>(), request_id::of(extensions));
        audit.write(AuditAction::Opened, user, hash, id, None);
    }
    request
}

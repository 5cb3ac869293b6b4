//! The whole way of a request, on one page. The order matters: a refusal is not activity, so everything that
//! refuses stands outside of `TrackActivity`; and nothing is asked of who has not said who they are.

use std::{convert::Infallible, sync::Arc};

use api::{server::AuditAction, wire::ErrorBody};
use axum::{Router, middleware};
use http::{HeaderValue, Request, Response, StatusCode, header};
use pod_manager::{Credentials, Token, manager::Manager};
use proxy_core::{
    AccessToken, Body, Cookies, Forward, ForwardSettings, HostRouter, IdentifyLayer, IdentityExtractor,
    Refusals, ResolveLayer, SameOriginLayer, TrackActivityLayer,
};
use session_key::{HostScheme, Identity, SessionRoute};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceBuilder};
use tower_http::csrf::{CsrfLayer, ProtectionError};

use crate::{
    audited,
    logging::Audit,
    metrics::Metrics,
    observe::ObserveLayer,
    refusals::is_navigation,
    sessions::{Ports, Sessions},
    shield::{RequestId, ShieldLayer},
    site::{self, Site},
};

/// What the stack is made of.
pub struct Ingredients {
    /// What is asked about sessions.
    pub manager: Arc<Manager>,
    /// The routes under `/api`.
    pub api: Router,
    /// The pages.
    pub site: Arc<Site>,
    /// Tells who asks.
    pub identity: Arc<dyn IdentityExtractor>,
    /// Makes the responses to refused requests.
    pub refusals: Arc<dyn Refusals>,
    /// The host names.
    pub scheme: Arc<HostScheme>,
    /// `http` or `https`: how browsers reach them.
    pub proto: &'static str,
    /// Which ports of sessions may be reached.
    pub ports: Ports,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// Who did what.
    pub audit: Arc<Audit>,
    /// Cookies of the sign-in, which no session sees or sets.
    pub cookies: Cookies,
    /// Log the names of each request's headers.
    pub debug_headers: bool,
    /// Ends event streams when cancelled.
    pub ending: CancellationToken,
}

/// A service that a listener can serve; what [`stack`] is to the outside.
pub trait Entrance:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> Entrance for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// A service for all host names.
pub fn stack(it: Ingredients) -> impl Entrance {
    let refusals = it.refusals;
    let sessions = Arc::new(Sessions::new(it.manager, it.ports));
    let identify = IdentifyLayer::new(it.identity).with_refusals(refusals.clone());
    let observe = ObserveLayer::new(it.metrics.clone(), it.ending, it.debug_headers);
    let forward =
        ForwardSettings { public_proto: it.proto, cookies: it.cookies, ..ForwardSettings::default() };

    let site = ServiceBuilder::new()
        .layer(observe.clone())
        .map_response(hardened)
        .layer(CsrfLayer::new().with_rejection_response(cross_origin))
        .layer(identify.clone())
        .map_request(with_credentials)
        .service(pages_and_api(it.api, it.site, it.audit.clone()));
    let session = ServiceBuilder::new()
        .layer(observe)
        .layer(identify)
        .layer(SameOriginLayer::new().with_refusals(refusals.clone()))
        .layer(ResolveLayer::new(sessions.clone()).with_refusals(refusals.clone()))
        .map_request(move |request| opened(&it.audit, request))
        .layer(TrackActivityLayer::new(sessions))
        .service(Forward::with_refusals(forward, refusals.clone()));
    ServiceBuilder::new()
        .layer(ShieldLayer::new(it.metrics))
        .service(HostRouter::new(it.scheme, session, site).with_refusals(refusals))
}

/// `/api`, else the SPA.
fn pages_and_api(api: Router, site: Arc<Site>, audit: Arc<Audit>) -> impl Entrance {
    let pages = move |request: axum::extract::Request| {
        let response = site.respond(request.method(), request.uri().path(), request.headers());
        async move { response }
    };
    let routes = api.layer(middleware::from_fn_with_state(audit, audited::note)).fallback(pages);
    ServiceBuilder::new()
        .map_response(|response: axum::response::Response| response.map(Body::new))
        .service(routes)
}

/// The user's token as the sessions' side knows it. A text that can be no token is none.
fn with_credentials(mut request: Request<Body>) -> Request<Body> {
    if let Some(token) = request.extensions_mut().remove::<AccessToken>() {
        let github_token = token.expose().and_then(Token::parse);
        request.extensions_mut().insert(Credentials { github_token });
    }
    request
}

fn hardened(mut response: Response<Body>) -> Response<Body> {
    site::harden(response.headers_mut());
    response
}

/// A page of another origin, a session's among them, asked for a change.
fn cross_origin(_: ProtectionError) -> Response<Body> {
    let body = ErrorBody {
        error: "Requests from another site's page are refused.".to_owned(),
        code: "cross_origin".to_owned(),
        request_id: None,
    };
    let mut response = Response::new(serde_json::to_string(&body).unwrap_or_default().into());
    *response.status_mut() = StatusCode::FORBIDDEN;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Notes that a person's browser opened a session that is theirs and runs.
fn opened(audit: &Audit, request: Request<Body>) -> Request<Body> {
    if is_navigation(request.method(), request.headers()) {
        let it = request.extensions();
        let hash = it.get::<SessionRoute>().map(|route| route.hash);
        audit.note(
            AuditAction::Opened,
            it.get::<Identity>(),
            hash,
            it.get::<RequestId>().map_or("", RequestId::as_str),
            "",
        );
    }
    request
}

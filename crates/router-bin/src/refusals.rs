//! The answers to refused requests of sessions: a page for a person, JSON for a program.

use std::sync::Arc;

use api::{server::AuditAction, wire::ErrorBody};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use proxy_core::{Body, IdentifyError, Refusal, RefusalContext, Refusals, respond};
use session_key::{Identity, SessionHash, SessionRoute};

use crate::{
    audit::Audit,
    metrics::{Metrics, RouteKind},
    request_id,
};

/// The router's refusals. A browser that opens a session which is not running is redirected to the session's
/// page on the site, where it can be started.
#[derive(Debug)]
pub(crate) struct RouterRefusals {
    /// The site's origin, without a slash at its end.
    pub(crate) site_origin: String,
    /// Records refused requests.
    pub(crate) audit: Arc<Audit>,
    /// Counts requests for unknown hosts, which no other layer sees.
    pub(crate) metrics: Arc<Metrics>,
}

impl Refusals for RouterRefusals {
    fn refuse(&self, refusal: &Refusal, context: &RefusalContext<'_>) -> Response<Body> {
        self.audit(refusal, context);
        if matches!(refusal, Refusal::UnknownHost) {
            self.metrics.record_response(RouteKind::UnknownHost, refusal.status());
        }
        let is_person = is_navigation(context.method, context.headers);
        match refusal {
            Refusal::NotRunning { hash, .. } if is_person => self.redirect_to_site(*hash),
            _ if is_person => page(refusal),
            _ => json(refusal, request_id::of(context.extensions)),
        }
    }
}

impl RouterRefusals {
    fn redirect_to_site(&self, hash: SessionHash) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SEE_OTHER;
        let headers = response.headers_mut();
        if let Ok(location) = HeaderValue::from_str(&format!("{}/session/{hash}", self.site_origin)) {
            headers.insert(header::LOCATION, location);
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }

    /// Writes an audit line if access was denied; a session that is not running is not worth one.
    fn audit(&self, refusal: &Refusal, context: &RefusalContext<'_>) {
        if matches!(refusal, Refusal::Unauthenticated(_) | Refusal::NotFound | Refusal::CrossOrigin) {
            let user = context.extensions.get::<Identity>();
            let hash = context.extensions.get::<SessionRoute>().map(|route| route.hash);
            let id = request_id::of(context.extensions);
            self.audit.write(AuditAction::Refused, user, hash, id, Some(describe(refusal).0));
        }
    }
}

/// Whether a person's browser opens an address, rather than a page or a program requesting data.
#[must_use]
pub(crate) fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    if !matches!(*method, Method::GET | Method::HEAD) || headers.contains_key(header::UPGRADE) {
        return false;
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("sec-fetch-mode") {
        // Frames do not count: the site's pages refuse to be framed.
        Some(mode) => mode == "navigate" && text("sec-fetch-dest").is_none_or(|dest| dest == "document"),
        None => text("accept").is_some_and(|accept| accept.contains("text/html")),
    }
}

/// Returns the code for programs, and the sentence for everybody. A session that does not exist and one of
/// another user are answered with the same bytes, except for the request's id.
fn describe(refusal: &Refusal) -> (&'static str, &'static str) {
    match refusal {
        Refusal::UnknownHost => ("foreign_host", "This router does not serve that host name."),
        Refusal::Malformed(_) => ("malformed_request", "The request is malformed."),
        Refusal::Unauthenticated(IdentifyError::Missing) => {
            ("unauthenticated", "You are not signed in. Sign in and try again.")
        }
        Refusal::Unauthenticated(_) => ("ambiguous_identity", "The request names more than one user."),
        Refusal::NotFound => ("not_found", "Session not found."),
        Refusal::NotRunning { .. } => {
            ("not_running", "The session is not running. You can start it on its page on the site.")
        }
        Refusal::CrossOrigin => ("cross_origin", "Requests from another site's page are refused."),
        Refusal::Unreachable => ("unreachable", "The session does not respond. Try again in a moment."),
        Refusal::TimedOut => ("timed_out", "The session did not respond in time. Try again in a moment."),
        _ => ("refused", "The request was refused."),
    }
}

fn json(refusal: &Refusal, request_id: &str) -> Response<Body> {
    let (code, error) = describe(refusal);
    let request_id = Some(request_id).filter(|id| !id.is_empty());
    let body = ErrorBody::json(code, error, request_id);
    harden(respond(refusal, "application/json", body.into()))
}

fn page(refusal: &Refusal) -> Response<Body> {
    let (_, sentence) = describe(refusal);
    let text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>opencode-router</title>\n<h1>{}</h1>\n<p>{sentence}</p>\n</html>\n",
        refusal.status(),
    );
    harden(respond(refusal, "text/html; charset=utf-8", text.into()))
}

/// Restricts the router's own answers on a session's origin, so that the session's pages can't use them.
fn harden(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    );
    response
}

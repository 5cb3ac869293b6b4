//! The answers to refused requests of sessions: a page for a person, JSON for a program.

use std::sync::Arc;

use api::{
    server::{AuditAction, ErrorCode},
    wire::ErrorBody,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, uri::PathAndQuery};
use proxy_core::{Body, IdentifyError, Reason, Refusal, RefusalContext, Refusals, RequestKind, respond};
use session_key::{Identity, SessionRoute, Target};

use crate::{
    audit::Audit,
    metrics::{RequestCounts, RouteKind},
    request_id::{self, RequestIds, X_REQUEST_ID},
};

/// The router's refusals. A browser that opens a session which is not running is redirected to the session's
/// page on the site, which shows the session's start, or where it can be started.
#[derive(Debug)]
pub(crate) struct RouterRefusals {
    /// The site's origin, without a slash at its end.
    pub(crate) site_origin: String,
    /// Records refused requests.
    pub(crate) audit: Arc<Audit>,
    /// Counts requests for unknown hosts, which no other layer sees.
    pub(crate) counts: Arc<RequestCounts>,
    /// Whether requests start sessions that are stopped. The page that a browser is redirected to then leads
    /// to the address that was requested.
    pub(crate) wake: bool,
}

impl Refusals for RouterRefusals {
    fn refuse(&self, refusal: &Refusal, context: &RefusalContext<'_>) -> Response<Body> {
        self.audit(refusal, context);
        if matches!(refusal, Refusal::UnknownHost) {
            self.counts.record_response(RouteKind::UnknownHost, refusal.status());
        }
        let is_person = is_navigation(context.method, context.headers);
        let kind = RequestKind::of(context.method, context.headers);
        let route = context.extensions.get::<SessionRoute>();
        match (refusal, route) {
            (Refusal::NotRunning { .. }, Some(route)) if is_person && !self.wake => {
                see_other(&format!("{}/session/{}", self.site_origin, route.hash))
            }
            (Refusal::NotRunning { reason, .. }, Some(route)) if kind == RequestKind::Navigation => {
                self.redirect_to_site(route, reason.as_ref(), context)
            }
            (Refusal::LimitReached { reason, .. }, Some(route)) if kind == RequestKind::Navigation => {
                self.redirect_to_site(route, Some(reason), context)
            }
            _ if is_person => page(refusal),
            _ => json(refusal, request_id::of(context.extensions)),
        }
    }
}

/// The refusals of `serve`, which refuses a request in front of the layers that give it an id and log it.
pub(crate) struct ServeRefusals {
    /// Makes the responses.
    pub(crate) refusals: Arc<dyn Refusals>,
    /// Makes ids for the requests.
    pub(crate) ids: RequestIds,
}

impl Refusals for ServeRefusals {
    fn refuse(&self, refusal: &Refusal, context: &RefusalContext<'_>) -> Response<Body> {
        let id = self.ids.next();
        tracing::info!(request.id = id.as_str(), code = describe(refusal).0, "request refused");
        let mut extensions = context.extensions.clone();
        extensions.insert(id.clone());
        let mut context = *context;
        context.extensions = &extensions;
        let mut response = self.refusals.refuse(refusal, &context);
        response.headers_mut().insert(X_REQUEST_ID, id.into_value());
        response
    }
}

impl RouterRefusals {
    /// Redirects to the session's page on the site, which leads to the requested address once the session
    /// runs.
    fn redirect_to_site(
        &self,
        route: &SessionRoute,
        reason: Option<&Reason>,
        context: &RefusalContext<'_>,
    ) -> Response<Body> {
        let mut query = Vec::new();
        if let Some(target) = context.uri.path_and_query().map(PathAndQuery::as_str)
            && target != "/"
            && target.len() <= MAX_TARGET_BYTES
        {
            query.push(format!("to={}", percent_encoded(target)));
        }
        if let Target::Port(port) = route.target {
            query.push(format!("port={port}"));
        }
        // A session that has failed says why itself.
        if let Some(reason) = reason.filter(|reason| reason.code != "session_failed") {
            query.push(format!("not-started={}", reason.code));
        }
        let separator = if query.is_empty() { "" } else { "?" };
        let (origin, hash, query) = (&self.site_origin, route.hash, query.join("&"));
        see_other(&format!("{origin}/session/{hash}{separator}{query}"))
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

/// The longest path and query that a browser is led back to, in bytes.
const MAX_TARGET_BYTES: usize = 4 * 1024;

fn see_other(location: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(location) {
        headers.insert(header::LOCATION, location);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Encodes a text as a value in a query.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.extend(['%', hex_digit(byte >> 4), hex_digit(byte & 15)]),
        }
    }
    encoded
}

fn hex_digit(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16).map_or('0', |digit| digit.to_ascii_uppercase())
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
fn describe(refusal: &Refusal) -> (&'static str, &str) {
    match refusal {
        Refusal::UnknownHost => ("foreign_host", "This router does not serve that host name."),
        Refusal::Malformed(_) => ("malformed_request", "The request is malformed."),
        Refusal::Unauthenticated(IdentifyError::Missing) => {
            ("unauthenticated", "You are not signed in. Sign in and try again.")
        }
        Refusal::Unauthenticated(_) => ("ambiguous_identity", "The request names more than one user."),
        Refusal::NotFound => ("not_found", "Session not found."),
        Refusal::NotRunning { reason: Some(reason), .. } | Refusal::LimitReached { reason, .. } => {
            (reason.code, &reason.message)
        }
        Refusal::NotRunning { reason: None, .. } => {
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
    let mut response = harden(respond(refusal, "application/json", body.into()));
    response.extensions_mut().insert(ErrorCode(code));
    response
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

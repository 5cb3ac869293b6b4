//! What is answered where a request to a session goes no further: a page for a person, JSON for a program.

use std::sync::Arc;

use api::{server::AuditAction, wire::ErrorBody};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use proxy_core::{Body, IdentifyError, Refusal, RefusalContext, Refusals, respond};
use session_key::{Identity, SessionHash, SessionRoute};

use crate::{
    logging::Audit,
    metrics::{Kind, Metrics},
    shield::RequestId,
};

/// The router's refusals. A browser that opens a session which does not run is led to its page on the site,
/// which can start it.
#[derive(Debug)]
pub(crate) struct SitePages {
    /// The site's origin, without a `/` at its end.
    pub(crate) site: String,
    /// Told of who was turned away.
    pub(crate) audit: Arc<Audit>,
    /// Names that are not ours are counted here: no later layer sees them.
    pub(crate) metrics: Arc<Metrics>,
}

impl Refusals for SitePages {
    fn refuse(&self, refusal: &Refusal, context: &RefusalContext<'_>) -> Response<Body> {
        self.note(refusal, context);
        if matches!(refusal, Refusal::UnknownHost) {
            self.metrics.answered(Kind::Foreign, refusal.status());
        }
        let person = is_navigation(context.method, context.headers);
        match refusal {
            Refusal::NotRunning { hash, .. } if person => self.lead_to_site(*hash),
            _ if person => page(refusal),
            _ => json(refusal, context.extensions.get()),
        }
    }
}

impl SitePages {
    fn lead_to_site(&self, hash: SessionHash) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SEE_OTHER;
        let headers = response.headers_mut();
        if let Ok(place) = HeaderValue::from_str(&format!("{}/session/{hash}", self.site)) {
            headers.insert(header::LOCATION, place);
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }

    /// What someone was kept from is written down; what merely does not run is not.
    fn note(&self, refusal: &Refusal, context: &RefusalContext<'_>) {
        if matches!(refusal, Refusal::Unauthenticated(_) | Refusal::NotFound | Refusal::CrossOrigin) {
            let who = context.extensions.get::<Identity>();
            let hash = context.extensions.get::<SessionRoute>().map(|route| route.hash);
            let id = context.extensions.get::<RequestId>().map_or("", RequestId::as_str);
            self.audit.note(AuditAction::Refused, who, hash, id, said(refusal).0);
        }
    }
}

/// A person's browser opens an address, rather than a page or a program asking for something.
#[must_use]
pub(crate) fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    if !matches!(*method, Method::GET | Method::HEAD) || headers.contains_key(header::UPGRADE) {
        return false;
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("sec-fetch-mode") {
        // Not in a frame: the site's pages refuse to be framed.
        Some(mode) => mode == "navigate" && text("sec-fetch-dest").is_none_or(|dest| dest == "document"),
        None => text("accept").is_some_and(|accept| accept.contains("text/html")),
    }
}

/// The code for programs, and the sentence for everybody. Of a session that is not there nothing more is said
/// than of one that is another's: but for the request's id, both are the same bytes.
fn said(refusal: &Refusal) -> (&'static str, &'static str) {
    match refusal {
        Refusal::UnknownHost => ("foreign_host", "This router does not serve that host name."),
        Refusal::Malformed(_) => ("malformed_request", "The request can't be understood."),
        Refusal::Unauthenticated(IdentifyError::Missing) => {
            ("unauthenticated", "You are not signed in. Sign in and try again.")
        }
        Refusal::Unauthenticated(_) => ("ambiguous_identity", "The request names more than one user."),
        Refusal::NotFound => ("not_found", "There is no such session."),
        Refusal::NotRunning { .. } => {
            ("not_running", "The session is not running. Its page on the site can start it.")
        }
        Refusal::CrossOrigin => ("cross_origin", "Requests from another site's page are refused."),
        Refusal::Unreachable => ("unreachable", "The session does not answer. Try again in a moment."),
        Refusal::TimedOut => ("timed_out", "The session did not answer in time."),
        _ => ("refused", "The request was refused."),
    }
}

fn json(refusal: &Refusal, id: Option<&RequestId>) -> Response<Body> {
    let (code, error) = said(refusal);
    let id = id.map(|id| id.as_str().to_owned());
    let body = ErrorBody { error: error.to_owned(), code: code.to_owned(), request_id: id };
    let text = serde_json::to_string(&body).unwrap_or_default();
    harden(respond(refusal, "application/json", text.into()))
}

fn page(refusal: &Refusal) -> Response<Body> {
    let (_, sentence) = said(refusal);
    let text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>opencode-router</title>\n<h1>{}</h1>\n<p>{sentence}</p>\n</html>\n",
        refusal.status(),
    );
    harden(respond(refusal, "text/html; charset=utf-8", text.into()))
}

/// These answers stand on a session's origin and are ours: nothing may be done with them.
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

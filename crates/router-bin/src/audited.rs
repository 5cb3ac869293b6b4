//! Audit lines for what is done by the API.

use std::sync::Arc;

use api::server::RefusalCode;
use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{Method, StatusCode, header};
use session_key::{Identity, SessionHash};

use crate::{
    logging::{Audit, Deed},
    shield::RequestId,
};

/// Longest answer to a creation that is looked into for its hash; it has a few hundred bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Writes a line for each request that changes a session, or would have.
pub(crate) async fn note(State(audit): State<Arc<Audit>>, request: Request, next: Next) -> Response {
    let Some((deed, hash)) = deed(request.method(), request.uri().path()) else {
        return next.run(request).await;
    };
    let who = request.extensions().get::<Identity>().cloned();
    let id = request.extensions().get::<RequestId>().cloned();
    let mut response = next.run(request).await;
    let status = response.status();
    let mut made = hash;
    if deed == Deed::Created && status.is_success() {
        (made, response) = hash_of_answer(response).await;
    }
    let (deed, why) = match status {
        // There already: asking again starts it again.
        StatusCode::OK if deed == Deed::Created => (Deed::Resumed, ""),
        status if status.is_success() => (deed, ""),
        _ => (Deed::Refused, response.extensions().get::<RefusalCode>().map_or("", |code| code.0)),
    };
    audit.note(deed, who.as_ref(), made, id.as_ref().map_or("", RequestId::as_str), why);
    response
}

/// What a request would do, and to which session.
fn deed(method: &Method, path: &str) -> Option<(Deed, Option<SessionHash>)> {
    let rest = path.strip_prefix("/api/sessions")?;
    let mut parts = rest.split('/').skip(1);
    let (name, verb, more) = (parts.next(), parts.next(), parts.next());
    let hash = name.and_then(|name| SessionHash::parse(name).ok());
    let deed = match (method, name, verb, more) {
        (&Method::POST, None, None, None) => Deed::Created,
        (&Method::POST, Some(_), Some("resume"), None) => Deed::Resumed,
        (&Method::POST, Some(_), Some("stop"), None) => Deed::Stopped,
        (&Method::DELETE, Some(_), None, None) => Deed::Deleted,
        _ => return None,
    };
    Some((deed, hash))
}

/// The hash that the answer to a creation tells, and the answer as it was.
async fn hash_of_answer(response: Response) -> (Option<SessionHash>, Response) {
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, LONGEST_ANSWER).await else {
        // It could not be made to its end; so it can't be sent either.
        parts.status = StatusCode::INTERNAL_SERVER_ERROR;
        parts.headers.remove(header::CONTENT_LENGTH);
        return (None, Response::from_parts(parts, Body::empty()));
    };
    let hash = serde_json::from_slice::<api::wire::SessionState>(&bytes).ok().map(|state| state.hash);
    (hash, Response::from_parts(parts, Body::from(bytes)))
}

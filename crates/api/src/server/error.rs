//! Refusals: one type, made into JSON in one place.

use axum::{
    Json,
    extract::Request,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONNECTION, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use pod_manager::{Limit, ManagerError};
use session_key::InvalidName;
use utoipa::IntoResponses;

use super::BODY_DEADLINE;
use crate::wire::ErrorBody;

/// A refusal: its status, a stable code, and a sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// 400.
    pub(super) fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// Not there, or not the caller's: nobody can tell which.
    pub(super) fn no_such_session() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such session.")
    }

    /// 408.
    pub(super) fn body_timeout() -> Self {
        let message = format!(
            "The request's body did not arrive within {} seconds. Send the request again.",
            BODY_DEADLINE.as_secs()
        );
        Self::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message)
    }
}

impl From<InvalidName> for Refusal {
    fn from(why: InvalidName) -> Self {
        let code = match why {
            InvalidName::Repo(_) => "invalid_repository",
            InvalidName::Ref(_) => "invalid_branch",
            _ => "invalid_request",
        };
        Self::invalid(code, sentence(&why))
    }
}

impl From<ManagerError> for Refusal {
    fn from(why: ManagerError) -> Self {
        match &why {
            ManagerError::NotFound => Self::no_such_session(),
            ManagerError::LimitReached { limit, max } => {
                let what = match limit {
                    Limit::Kept => "You have as many sessions as you may. Delete one and try again.",
                    Limit::Running => "You have as many running sessions as you may. Stop one and try again.",
                };
                let message = format!("{what} The limit is {max}.");
                Self::new(StatusCode::TOO_MANY_REQUESTS, "limit_reached", message)
            }
            ManagerError::DiskFull => {
                let message = format!("{} Delete a session or make space, and try again.", sentence(&why));
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", message)
            }
            ManagerError::Unavailable(cause) => {
                tracing::warn!(error = %cause, "the backend did not take a request");
                let message = format!("{} Try again in a moment.", sentence(&why));
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
            }
        }
    }
}

/// An error's text as a sentence: libraries write theirs in lower case and without a full stop.
fn sentence(why: &impl std::fmt::Display) -> String {
    let mut text = why.to_string();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    if text.ends_with(['.', '!', '?']) { text } else { text + "." }
}

/// The code of a refusal, among the extensions of its response: for a log, without reading the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusalCode(pub &'static str);

/// The body is written by [`finish`], which knows the request.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        let header = match self.status {
            StatusCode::SERVICE_UNAVAILABLE => Some((RETRY_AFTER, "2")),
            // Otherwise the connection stays open for the rest of the body.
            StatusCode::REQUEST_TIMEOUT => Some((CONNECTION, "close")),
            _ => None,
        };
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes refusals as [`ErrorBody`], with the request's id; and what every answer of the API says.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let mut response = next.run(request).await;
    let refusal = response.extensions_mut().remove::<Refusal>().or_else(|| unexplained(&response));
    if let Some(Refusal { code, message, .. }) = refusal {
        let body = Json(ErrorBody { error: message, code: code.to_owned(), request_id: id }).into_response();
        let (mut parts, _) = response.into_parts();
        parts.headers.remove(axum::http::header::CONTENT_LENGTH);
        for (name, value) in body.headers() {
            parts.headers.insert(name, value.clone());
        }
        parts.extensions.insert(RefusalCode(code));
        response = Response::from_parts(parts, body.into_body());
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The refusal of a response that axum itself made.
fn unexplained(response: &Response) -> Option<Refusal> {
    let status = response.status();
    let refuse = |code, message: &str| Some(Refusal::new(status, code, message));
    match status {
        // Which ones it takes is in the header `Allow`, which axum adds behind this.
        StatusCode::METHOD_NOT_ALLOWED => {
            refuse("method_not_allowed", "This address does not take that method.")
        }
        status if status.is_client_error() => refuse("invalid_request", "The request can't be understood."),
        status if status.is_server_error() => refuse("internal", "The router failed. Its log tells more."),
        _ => None,
    }
}

/// The id that the layers in front gave the request, where they did.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    (!id.is_empty() && id.len() <= 128).then(|| id.to_owned())
}

/// The answer to every other path under `/api`.
pub(super) async fn no_such_route() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "no_such_route",
        "The API has no such address. /api/openapi.json lists all.",
    )
}

/// What any route may answer.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes the answers in openapi.json; `Refusal` makes them")]
pub(super) enum Always {
    /// Not signed in.
    #[response(status = 401)]
    Unauthenticated(ErrorBody),
    /// The router can't reach what keeps the sessions; try again.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

/// What a route of one session may answer.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes the answers in openapi.json; `Refusal` makes them")]
pub(super) enum OfOne {
    /// Not signed in.
    #[response(status = 401)]
    Unauthenticated(ErrorBody),
    /// There is no such session, or it is another user's.
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// The router can't reach what keeps the sessions; try again.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

/// What a route that changes one session may answer.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes the answers in openapi.json; `Refusal` makes them")]
pub(super) enum OfOneChanged {
    /// Not signed in.
    #[response(status = 401)]
    Unauthenticated(ErrorBody),
    /// There is no such session, or it is another user's.
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// The request has a body whose content type is not application/json.
    #[response(status = 415)]
    UnsupportedMediaType(ErrorBody),
    /// The router can't reach what keeps the sessions; try again.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

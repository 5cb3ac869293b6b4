//! Errors: one type, written as JSON in one place.

use axum::{
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use pod_manager::{AttachTokens, Limit, ManagerError};
use session_key::InvalidName;
use utoipa::IntoResponses;

use super::stream_limit::MAX_MESSAGE_STREAMS;
use crate::wire::ErrorBody;

/// An error: its status, a stable code, and a sentence for a person.
///
/// As a response it has no body yet: [`finish`] writes that, since it knows the request's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ErrorResponse {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    retry_after: Option<HeaderValue>,
}

impl ErrorResponse {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    pub(super) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// Says how long to wait.
    pub(super) fn with_retry_after(mut self, seconds: u128) -> Self {
        self.retry_after = HeaderValue::try_from(seconds.to_string()).ok();
        self
    }

    /// The session does not exist or is not the caller's; the answer is the same.
    pub(super) fn no_such_session() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "Session not found.")
    }

    /// The caller has as many event streams of messages open as are allowed.
    pub(super) fn too_many_streams() -> Self {
        let message = format!(
            "You follow the messages of {MAX_MESSAGE_STREAMS} sessions already. Close some of your pages, and \
             try again."
        );
        Self::new(StatusCode::TOO_MANY_REQUESTS, "limit_reached", message).with_retry_after(10)
    }

    /// The session has no such attach token.
    pub(super) fn no_such_token() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_token", "The session has no such token.")
    }
}

impl From<InvalidName> for ErrorResponse {
    fn from(error: InvalidName) -> Self {
        let code = match error {
            InvalidName::Repo(_) => "invalid_repository",
            InvalidName::Ref(_) => "invalid_branch",
            _ => "invalid_request",
        };
        Self::bad_request(code, sentence(&error))
    }
}

impl From<ManagerError> for ErrorResponse {
    fn from(error: ManagerError) -> Self {
        match &error {
            ManagerError::NotFound => Self::no_such_session(),
            ManagerError::LimitReached { limit, max } => {
                let message = match limit {
                    Limit::Kept => {
                        format!("You have reached your limit of sessions ({max}). Delete one and try again.")
                    }
                    Limit::Running => {
                        format!(
                            "You have reached your limit of running sessions ({max}). Stop one and try again."
                        )
                    }
                };
                Self::new(StatusCode::TOO_MANY_REQUESTS, "limit_reached", message)
            }
            ManagerError::TooManyStarts { max_per_minute, retry_after } => {
                let seconds = retry_after.as_millis().div_ceil(1000);
                let message = format!(
                    "You may start {max_per_minute} sessions per minute. Try again in {seconds} seconds."
                );
                Self::new(StatusCode::TOO_MANY_REQUESTS, "limit_reached", message).with_retry_after(seconds)
            }
            ManagerError::Conflict => {
                let message = format!("{} Choose another branch.", sentence(&error));
                Self::new(StatusCode::CONFLICT, "conflict", message)
            }
            ManagerError::TooManyAttachTokens => {
                let message = format!(
                    "A session may have {} attach tokens at once. Revoke one and try again.",
                    AttachTokens::MAX
                );
                Self::new(StatusCode::TOO_MANY_REQUESTS, "limit_reached", message)
            }
            ManagerError::DiskFull => {
                let message =
                    format!("{} Delete a session or free some space, and try again.", sentence(&error));
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", message)
            }
            ManagerError::Unavailable(cause) => {
                tracing::warn!(error = %cause, "the session backend is unavailable");
                let message = format!("{} Try again in a moment.", sentence(&error));
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
            }
        }
    }
}

/// Returns an error's text as a sentence: libraries write theirs in lower case and without a full stop.
pub(super) fn sentence(error: &impl std::fmt::Display) -> String {
    let mut text = error.to_string();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    if text.ends_with(['.', '!', '?']) { text } else { text + "." }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        let header = match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                let value = self.retry_after.clone();
                Some((RETRY_AFTER, value.unwrap_or(HeaderValue::from_static("2"))))
            }
            StatusCode::TOO_MANY_REQUESTS => self.retry_after.clone().map(|value| (RETRY_AFTER, value)),
            // Otherwise the connection stays open for the rest of the body.
            StatusCode::REQUEST_TIMEOUT => Some((CONNECTION, HeaderValue::from_static("close"))),
            _ => None,
        };
        response.headers_mut().extend(header);
        response.extensions_mut().insert(self);
        response
    }
}

/// Creates the response of an error, with an [`ErrorBody`] as its JSON body.
pub fn error_response<B: From<String>>(
    status: StatusCode,
    code: &str,
    message: &str,
    request_id: Option<&str>,
) -> Response<B> {
    let mut response = Response::new(B::from(ErrorBody::json(code, message, request_id)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The code of an error: an extension of its response, for logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode(pub &'static str);

/// Writes the bodies of errors, and the headers of every answer of the API.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let mut response = next.run(request).await;
    let error = response.extensions_mut().remove::<ErrorResponse>().or_else(|| without_reason(&response));
    if let Some(ErrorResponse { status, code, message, .. }) = error {
        let (body_head, body) = error_response::<Body>(status, code, &message, id.as_deref()).into_parts();
        let (mut head, _) = response.into_parts();
        head.headers.remove(CONTENT_LENGTH);
        head.headers.extend(body_head.headers);
        head.extensions.insert(ErrorCode(code));
        response = Response::from_parts(head, body);
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Marks a response whose status is an error, and whose body is complete.
#[derive(Debug, Clone, Copy)]
pub(super) struct HasBody;

/// Returns the error of a response that axum itself made.
fn without_reason(response: &Response) -> Option<ErrorResponse> {
    if response.extensions().get::<HasBody>().is_some() {
        return None;
    }
    let status = response.status();
    let (code, message) = match status {
        // axum adds the header outside of this layer.
        StatusCode::METHOD_NOT_ALLOWED => (
            "method_not_allowed",
            "This address does not accept that method. The header Allow lists those that it accepts.",
        ),
        status if status.is_client_error() => {
            ("invalid_request", "The request is invalid. /api/openapi.json describes the valid ones.")
        }
        status if status.is_server_error() => ("internal", "The router failed. Its log says why."),
        _ => return None,
    };
    Some(ErrorResponse::new(status, code, message))
}

/// Returns the id that the layers in front gave the request.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    (!id.is_empty() && id.len() <= 128).then(|| id.to_owned())
}

/// Answers every other path under `/api`.
pub(super) async fn no_such_route() -> ErrorResponse {
    ErrorResponse::new(
        StatusCode::NOT_FOUND,
        "no_such_route",
        "The API has no such address. /api/openapi.json lists all addresses.",
    )
}

/// The errors of every route.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes the answers in openapi.json; `ErrorResponse` makes them")]
pub(super) enum CommonErrors {
    /// The caller is not signed in.
    #[response(status = 401)]
    Unauthenticated(ErrorBody),
    /// The session backend is unavailable; try again.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

/// The errors of a route of one session.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes the answers in openapi.json; `ErrorResponse` makes them")]
pub(super) enum SessionErrors {
    /// The caller is not signed in.
    #[response(status = 401)]
    Unauthenticated(ErrorBody),
    /// There is no such session, or it is another user's.
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// The session backend is unavailable; try again.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

/// The errors of a route that sets secrets.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes the answers in openapi.json; `ErrorResponse` makes them")]
pub(super) enum SecretErrors {
    /// A name or value is invalid, a name may not be set, or a limit is reached.
    #[response(status = 400)]
    Invalid(ErrorBody),
    /// The caller is not signed in.
    #[response(status = 401)]
    Unauthenticated(ErrorBody),
    /// The body did not arrive within 30 seconds.
    #[response(status = 408)]
    BodyTimeout(ErrorBody),
    /// The body is longer than 256 KiB.
    #[response(status = 413)]
    BodyTooLarge(ErrorBody),
    /// The content type is not application/json.
    #[response(status = 415)]
    UnsupportedMediaType(ErrorBody),
    /// The store of secrets is unavailable; try again.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

/// The errors of an event stream of one session.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes the answers in openapi.json; `ErrorResponse` makes them")]
pub(super) enum StreamErrors {
    /// The caller is not signed in.
    #[response(status = 401)]
    Unauthenticated(ErrorBody),
    /// There is no such session, or it is another user's.
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// The caller has too many of these streams open.
    #[response(status = 429)]
    TooManyStreams(ErrorBody),
    /// The session backend is unavailable; try again.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

/// The errors of a route that changes one session.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes the answers in openapi.json; `ErrorResponse` makes them")]
pub(super) enum MutationErrors {
    /// The caller is not signed in.
    #[response(status = 401)]
    Unauthenticated(ErrorBody),
    /// There is no such session, or it is another user's.
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// The request has a body whose content type is not application/json.
    #[response(status = 415)]
    UnsupportedMediaType(ErrorBody),
    /// The session backend is unavailable; try again.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

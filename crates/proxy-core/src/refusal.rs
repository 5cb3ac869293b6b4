//! Why a request is refused, and the policy that turns a refusal into a response.

use std::borrow::Cow;

use http::{
    Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header, request::Parts,
};
use session_key::SessionHash;

use crate::{body::Body, identity::extractor::IdentifyError};

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The host name is not one that this server serves: 421 (RFC 9110 §15.5.20).
    UnknownHost,
    /// The request is malformed or ambiguous: 400, and the connection is closed. The text is a sentence for
    /// the client.
    Malformed(&'static str),
    /// The user cannot be identified: 401, or 400 if the request names two users.
    Unauthenticated(IdentifyError),
    /// The session does not exist, or belongs to another user: 404. The two must be indistinguishable.
    NotFound,
    /// The user's session is not running: 503, with `Retry-After` if it starts by itself.
    NotRunning {
        /// The session.
        hash: SessionHash,
        /// Seconds after which a program may retry. `None`: the session does not start by itself.
        retry_after: Option<u32>,
        /// Why it does not run, if that is known.
        reason: Option<Reason>,
    },
    /// The user's session was not started, because the user has reached a limit: 429.
    LimitReached {
        /// The session.
        hash: SessionHash,
        /// Seconds after which a program may retry. `None`: waiting does not help.
        retry_after: Option<u32>,
        /// Which limit.
        reason: Reason,
    },
    /// A page of another origin sent the request: 403.
    CrossOrigin,
    /// The session's server cannot be reached, or closed the connection: 502.
    Unreachable,
    /// The session's server did not respond in time: 504.
    TimedOut,
}

/// Why a request is refused, in words for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// A stable code, for programs.
    pub code: &'static str,
    /// A sentence, for people.
    pub message: Cow<'static, str>,
}

impl Reason {
    /// Makes a reason.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }
}

impl Refusal {
    /// Returns the status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::Malformed(_) | Self::Unauthenticated(IdentifyError::Ambiguous) => StatusCode::BAD_REQUEST,
            Self::Unauthenticated(IdentifyError::Missing) => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NotRunning { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::LimitReached { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::CrossOrigin => StatusCode::FORBIDDEN,
            Self::Unreachable => StatusCode::BAD_GATEWAY,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// Turns refusals into responses: an embedder's own pages, or JSON.
pub trait Refusals: Send + Sync + 'static {
    /// Returns the response. For [`Refusal::NotFound`] it must not depend on whether the session exists.
    fn refuse(&self, refusal: &Refusal, context: &RefusalContext<'_>) -> Response<Body>;
}

/// What a response to a refused request may depend on.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RefusalContext<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The request's target.
    pub uri: &'a Uri,
    /// The request's headers; of a request that was forwarded, only some that say what kind of client sent
    /// it.
    pub headers: &'a HeaderMap,
    /// The request's extensions: the [`session_key::SessionRoute`] and the [`session_key::Identity`], if they
    /// are known, and those of the embedder's own layers.
    pub extensions: &'a Extensions,
}

impl<'a> From<&'a Parts> for RefusalContext<'a> {
    fn from(parts: &'a Parts) -> Self {
        Self {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            extensions: &parts.extensions,
        }
    }
}

impl<'a, B> From<&'a Request<B>> for RefusalContext<'a> {
    fn from(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

/// Refuses with one line of text.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainRefusals;

impl Refusals for PlainRefusals {
    fn refuse(&self, refusal: &Refusal, _: &RefusalContext<'_>) -> Response<Body> {
        let text = match refusal {
            Refusal::UnknownHost => "this server does not serve that host name\n",
            Refusal::Malformed(text) => text,
            Refusal::Unauthenticated(IdentifyError::Missing) => "sign in first\n",
            Refusal::Unauthenticated(IdentifyError::Ambiguous) => "the request names more than one user\n",
            Refusal::NotFound => "no such session\n",
            Refusal::NotRunning { reason: None, .. } => "the session is not running\n",
            Refusal::NotRunning { reason: Some(reason), .. } | Refusal::LimitReached { reason, .. } => {
                &reason.message
            }
            Refusal::CrossOrigin => "requests from pages of another origin are refused\n",
            Refusal::Unreachable => "the session does not respond\n",
            Refusal::TimedOut => "the session did not respond in time\n",
        };
        respond(refusal, "text/plain; charset=utf-8", text.to_owned().into())
    }
}

/// Returns a response with the refusal's status and headers, and this content.
#[must_use]
pub fn respond(refusal: &Refusal, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match refusal {
        Refusal::Malformed(_) => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Refusal::NotRunning { retry_after: Some(seconds), .. }
        | Refusal::LimitReached { retry_after: Some(seconds), .. } => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
        }
        _ => {}
    }
    response
}

/// Marks a response as a refusal by [`crate::Forward`], not the session's own response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused;

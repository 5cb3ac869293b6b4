//! What is answered where a request goes no further.

use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use session_key::SessionHash;

use crate::{Body, IdentifyError};

/// Why a request goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Not a host of ours: 421 (RFC 9110 §15.5.20).
    UnknownHost,
    /// Not a request that has one meaning: 400, and the connection is closed.
    Malformed(&'static str),
    /// Nobody whom we may believe: 401, or 400 where there are two.
    Unauthenticated(IdentifyError),
    /// Not there, or not theirs: 404. The two must not be told apart.
    NotFound,
    /// Theirs, and not running: 503 with `Retry-After`.
    NotRunning {
        /// Which session.
        hash: SessionHash,
        /// Seconds after which a program may ask again; `None`: nothing happens by itself.
        retry_after: Option<u32>,
    },
    /// Another origin's page sent it: 403.
    CrossOrigin,
    /// The session's server can't be reached, or broke off: 502.
    Unreachable,
    /// The session's server gave no answer in time: 504.
    TimedOut,
}

impl Refusal {
    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::Malformed(_) | Self::Unauthenticated(IdentifyError::Ambiguous) => StatusCode::BAD_REQUEST,
            Self::Unauthenticated(IdentifyError::Missing) => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NotRunning { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::CrossOrigin => StatusCode::FORBIDDEN,
            Self::Unreachable => StatusCode::BAD_GATEWAY,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// Turns refusals into responses: an embedder's own pages, or JSON.
pub trait Refusals: Send + Sync + 'static {
    /// The response. What differs between [`Refusal::NotFound`]s must not depend on whether the session exists.
    fn refuse(&self, refusal: &Refusal, parts: &Parts) -> Response<Body>;
}

/// One line of text.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainRefusals;

impl Refusals for PlainRefusals {
    fn refuse(&self, refusal: &Refusal, _: &Parts) -> Response<Body> {
        let text = match refusal {
            Refusal::UnknownHost => "this server does not serve that host name\n",
            Refusal::Malformed(why) => why,
            Refusal::Unauthenticated(IdentifyError::Missing) => "sign in first\n",
            Refusal::Unauthenticated(IdentifyError::Ambiguous) => "the request names more than one user\n",
            Refusal::NotFound => "there is no such session\n",
            Refusal::NotRunning { .. } => "the session is not running\n",
            Refusal::CrossOrigin => "requests from another site's page are refused\n",
            Refusal::Unreachable => "the session does not answer\n",
            Refusal::TimedOut => "the session did not answer in time\n",
        };
        respond(refusal, "text/plain; charset=utf-8", text.into())
    }
}

/// A response with the refusal's status and headers, and this content.
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
        Refusal::NotRunning { retry_after: Some(seconds), .. } => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
        }
        _ => {}
    }
    response
}

/// Marks a response as a refusal of [`crate::Forward`]'s, which is not the session's answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused;

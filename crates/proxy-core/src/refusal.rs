//! Why a request is refused, and the policy that turns a refusal into a response.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::{body::Body, identity::extractor::IdentifyError, request_head::RequestHead};

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
        /// Seconds after which a program may retry. `None`: the session does not start by itself.
        retry_after: Option<u32>,
        /// Why it does not run, if that is known.
        reason: Option<Reason>,
    },
    /// The user's session was not started, because the user has reached a limit: 429.
    LimitReached {
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
#[non_exhaustive]
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

/// Turns refusals into responses with bodies of type `B`: an embedder's own pages, or JSON.
///
/// One implementation serves all layers, [`crate::Forward`] and [`crate::serve`]: an `Arc` of it can be given
/// to each. A policy that is generic over `B` also serves stacks with other bodies than [`Body`], such as an
/// axum `Router`.
///
/// ```
/// use bytes::Bytes;
/// use http::Response;
/// use proxy_core::{Refusal, RefusalContext, Refusals, respond};
///
/// struct Json;
///
/// impl<B: From<Bytes>> Refusals<B> for Json {
///     fn refuse(&self, refusal: &Refusal, _: &RefusalContext<'_>) -> Response<B> {
///         let body = format!(r#"{{"status":{}}}"#, refusal.status().as_u16());
///         respond(refusal, "application/json", Bytes::from(body).into())
///     }
/// }
/// ```
pub trait Refusals<B = Body>: Send + Sync + 'static {
    /// Returns the response. For [`Refusal::NotFound`] it must not depend on whether the session exists.
    fn refuse(&self, refusal: &Refusal, context: &RefusalContext<'_>) -> Response<B>;
}

impl<B, T: Refusals<B> + ?Sized> Refusals<B> for Arc<T> {
    fn refuse(&self, refusal: &Refusal, context: &RefusalContext<'_>) -> Response<B> {
        (**self).refuse(refusal, context)
    }
}

impl<B, T: Refusals<B> + ?Sized> Refusals<B> for Box<T> {
    fn refuse(&self, refusal: &Refusal, context: &RefusalContext<'_>) -> Response<B> {
        (**self).refuse(refusal, context)
    }
}

/// What a response to a refused request may depend on.
pub type RefusalContext<'a> = RequestHead<'a>;

/// Refuses with one line of text.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainRefusals;

impl<B: From<Bytes>> Refusals<B> for PlainRefusals {
    fn refuse(&self, refusal: &Refusal, _: &RefusalContext<'_>) -> Response<B> {
        let text = match refusal {
            Refusal::UnknownHost => "this server does not serve that host name\n",
            Refusal::Malformed(text) => text,
            Refusal::Unauthenticated(IdentifyError::Missing) => "sign in first\n",
            Refusal::Unauthenticated(IdentifyError::Ambiguous) => "the request names more than one user\n",
            Refusal::NotFound => "no such session\n",
            Refusal::NotRunning { reason: None, .. } => "the session is not running\n",
            Refusal::NotRunning { reason: Some(reason), .. } | Refusal::LimitReached { reason, .. } => {
                let text = Bytes::copy_from_slice(reason.message.as_bytes());
                return respond(refusal, TEXT, text.into());
            }
            Refusal::CrossOrigin => "requests from pages of another origin are refused\n",
            Refusal::Unreachable => "the session does not respond\n",
            Refusal::TimedOut => "the session did not respond in time\n",
        };
        respond(refusal, TEXT, Bytes::from_static(text.as_bytes()).into())
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

/// Returns a response with the refusal's status and headers, and this content.
#[must_use]
pub fn respond<B>(refusal: &Refusal, content_type: &'static str, body: B) -> Response<B> {
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

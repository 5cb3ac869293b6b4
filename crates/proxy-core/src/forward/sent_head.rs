//! The head of a request after the request was sent.

use http::{Extensions, HeaderMap, HeaderName, Method, Request, Uri, header, request::Parts};

use crate::{body::Body, refusal::RefusalContext};

/// The head of a request, kept to send the request again or to refuse it.
pub(super) struct SentHead {
    method: Method,
    pub(super) uri: Uri,
    headers: HeaderMap,
    extensions: Extensions,
    pub(super) is_repeatable: bool,
}

impl SentHead {
    /// Copies all headers if the request is repeatable, else those that a refusal may depend on.
    pub(super) fn new(parts: &mut Parts, is_repeatable: bool) -> Self {
        let headers = if is_repeatable {
            parts.headers.clone()
        } else {
            let copied = REFUSAL_HEADERS.iter();
            copied.filter_map(|name| Some((name.clone(), parts.headers.get(name)?.clone()))).collect()
        };
        Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers,
            extensions: std::mem::take(&mut parts.extensions),
            is_repeatable,
        }
    }

    /// Returns the request once more; it had no body.
    pub(super) fn to_request(&self) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// Returns the context of a refusal, without the session's password that `Authorization` holds by now.
    pub(super) fn refusal_context(&mut self) -> RefusalContext<'_> {
        self.headers.remove(header::AUTHORIZATION);
        RefusalContext {
            method: &self.method,
            uri: &self.uri,
            headers: &self.headers,
            extensions: &self.extensions,
        }
    }
}

/// Headers that a refusal may depend on.
static REFUSAL_HEADERS: [HeaderName; 5] = [
    header::ACCEPT,
    header::HOST,
    header::UPGRADE,
    HeaderName::from_static("sec-fetch-dest"),
    HeaderName::from_static("sec-fetch-mode"),
];

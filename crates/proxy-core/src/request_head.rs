//! The head of a request, as policies see it.

use http::{Extensions, HeaderMap, Method, Request, Uri, request::Parts};

/// The head of a request: what a policy's answer may depend on.
///
/// Policies see no body, so they work in front of any.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The request's target.
    pub uri: &'a Uri,
    /// The request's headers; of a request that was forwarded, only some that say what kind of client sent
    /// it.
    pub headers: &'a HeaderMap,
    /// The request's extensions: those that the layers in front have added, such as the
    /// [`session_key::SessionRoute`] and the [`session_key::Identity`], and those of the embedder's own
    /// layers.
    pub extensions: &'a Extensions,
}

impl<'a> From<&'a Parts> for RequestHead<'a> {
    fn from(parts: &'a Parts) -> Self {
        Self {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            extensions: &parts.extensions,
        }
    }
}

impl<'a, B> From<&'a Request<B>> for RequestHead<'a> {
    fn from(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

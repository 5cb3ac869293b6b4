//! `Identify`: finds out who sends a request.

use std::{
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower::{Layer, Service};

use crate::{
    body::Body,
    identity::extractor::IdentityExtractor,
    refusal::{PlainRefusals, Refusal, RefusalContext, Refusals},
    response_future::ResponseFuture,
};

/// Makes [`Identify`] services.
#[derive(Clone)]
pub struct IdentifyLayer {
    extractor: Arc<dyn IdentityExtractor>,
    refusals: Arc<dyn Refusals>,
}

impl IdentifyLayer {
    /// Identifies users with `extractor`; refuses with [`PlainRefusals`].
    #[must_use]
    pub fn new(extractor: Arc<dyn IdentityExtractor>) -> Self {
        Self { extractor, refusals: Arc::new(PlainRefusals) }
    }

    /// Refuses with `refusals`.
    #[must_use]
    pub fn with_refusals(mut self, refusals: Arc<dyn Refusals>) -> Self {
        self.refusals = refusals;
        self
    }
}

impl fmt::Debug for IdentifyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentifyLayer")
    }
}

impl<S> Layer<S> for IdentifyLayer {
    type Service = Identify<S>;

    fn layer(&self, inner: S) -> Identify<S> {
        Identify { inner, layer: self.clone() }
    }
}

/// Puts the caller's [`session_key::Identity`] into the request's extensions, or refuses the request: 401, or
/// 400 if it names two users.
#[derive(Debug, Clone)]
pub struct Identify<S> {
    inner: S,
    layer: IdentifyLayer,
}

impl<S> Service<Request<Body>> for Identify<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        match self.layer.extractor.identify(&mut parts) {
            Ok(identity) => {
                parts.extensions.insert(identity);
                ResponseFuture::called(self.inner.call(Request::from_parts(parts, body)))
            }
            Err(error) => {
                let refusal = Refusal::Unauthenticated(error);
                ResponseFuture::refused(self.layer.refusals.refuse(&refusal, &RefusalContext::from(&parts)))
            }
        }
    }
}

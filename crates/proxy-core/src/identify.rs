//! `Identify`: finds out who sends a request.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower::{Layer, Service};

use crate::{
    identity::extractor::IdentityExtractor,
    refusal::{PlainRefusals, Refusal, RefusalContext, Refusals},
    response_future::ResponseFuture,
};

/// Makes [`Identify`] services.
#[derive(Clone)]
pub struct IdentifyLayer<R = PlainRefusals> {
    extractor: Arc<dyn IdentityExtractor>,
    refusals: R,
}

impl IdentifyLayer {
    /// Identifies users with `extractor`; refuses with [`PlainRefusals`].
    #[must_use]
    pub fn new(extractor: Arc<dyn IdentityExtractor>) -> Self {
        Self { extractor, refusals: PlainRefusals }
    }
}

impl<R> IdentifyLayer<R> {
    /// Refuses with `refusals`.
    #[must_use]
    pub fn with_refusals<R2>(self, refusals: R2) -> IdentifyLayer<R2> {
        IdentifyLayer { extractor: self.extractor, refusals }
    }
}

impl<R> fmt::Debug for IdentifyLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentifyLayer")
    }
}

impl<S, R: Clone> Layer<S> for IdentifyLayer<R> {
    type Service = Identify<S, R>;

    fn layer(&self, inner: S) -> Identify<S, R> {
        Identify { inner, layer: self.clone() }
    }
}

/// Puts the caller's [`session_key::Identity`] into the request's extensions, or refuses the request: 401, or
/// 400 if it names two users.
#[derive(Debug, Clone)]
pub struct Identify<S, R = PlainRefusals> {
    inner: S,
    layer: IdentifyLayer<R>,
}

impl<S, R, ReqB, ResB> Service<Request<ReqB>> for Identify<S, R>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    R: Refusals<ResB>,
{
    type Response = Response<ResB>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
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

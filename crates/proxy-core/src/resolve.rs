//! `Resolve`: finds the upstream of a request's session.

use std::{
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Extensions, Request, Response};
use session_key::{Identity, SessionRoute};
use tower::{Layer, Service};

use crate::{
    body::Body,
    refusal::{PlainRefusals, Refusal, RefusalContext, Refusals},
    resolver::{ResolveError, Resolver, Upstream},
    response_future::ResponseFuture,
};

/// Makes [`Resolve`] services.
#[derive(Clone)]
pub struct ResolveLayer {
    resolver: Arc<dyn Resolver>,
    refusals: Arc<dyn Refusals>,
}

impl ResolveLayer {
    /// Resolves requests with `resolver`; refuses with [`PlainRefusals`].
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver, refusals: Arc::new(PlainRefusals) }
    }

    /// Refuses with `refusals`.
    #[must_use]
    pub fn with_refusals(mut self, refusals: Arc<dyn Refusals>) -> Self {
        self.refusals = refusals;
        self
    }

    fn resolve(&self, extensions: &Extensions) -> Result<Upstream, Refusal> {
        let route = extensions.get::<SessionRoute>().ok_or(Refusal::NotFound)?;
        let identity = extensions.get::<Identity>().ok_or(Refusal::NotFound)?;
        self.resolver.resolve(route, identity).map_err(|error| match error {
            ResolveError::NotFound => Refusal::NotFound,
            ResolveError::NotRunning { retry_after } => Refusal::NotRunning { hash: route.hash, retry_after },
        })
    }
}

impl fmt::Debug for ResolveLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResolveLayer")
    }
}

impl<S> Layer<S> for ResolveLayer {
    type Service = Resolve<S>;

    fn layer(&self, inner: S) -> Resolve<S> {
        Resolve { inner, layer: self.clone() }
    }
}

/// Puts the [`Upstream`] of a request's [`SessionRoute`] and [`Identity`] into its extensions, or refuses the
/// request.
///
/// A request without a route or without an identity is answered as if its session did not exist.
#[derive(Debug, Clone)]
pub struct Resolve<S> {
    inner: S,
    layer: ResolveLayer,
}

impl<S> Service<Request<Body>> for Resolve<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.layer.resolve(request.extensions()) {
            Ok(upstream) => {
                request.extensions_mut().insert(upstream);
                ResponseFuture::called(self.inner.call(request))
            }
            Err(refusal) => {
                let context = RefusalContext::from(&request);
                ResponseFuture::refused(self.layer.refusals.refuse(&refusal, &context))
            }
        }
    }
}

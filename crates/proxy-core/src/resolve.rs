use std::{
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Extensions, Request, Response};
use session_key::{Identity, SessionRoute};
use tower_layer::Layer;
use tower_service::Service;

use crate::{Body, PlainRefusals, Refusal, Refusals, ResolveError, Resolver, ResponseFuture, Upstream};

/// Makes [`Resolve`] services.
#[derive(Clone)]
pub struct ResolveLayer {
    resolver: Arc<dyn Resolver>,
    refusals: Arc<dyn Refusals>,
}

impl ResolveLayer {
    /// Asks `resolver` where a request goes.
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver, refusals: Arc::new(PlainRefusals) }
    }

    /// The same, with refusals of one's own.
    #[must_use]
    pub fn with_refusals(mut self, refusals: Arc<dyn Refusals>) -> Self {
        self.refusals = refusals;
        self
    }

    fn resolve(&self, facts: &Extensions) -> Result<Upstream, Refusal> {
        let route = facts.get::<SessionRoute>().ok_or(Refusal::NotFound)?;
        let who = facts.get::<Identity>().ok_or(Refusal::NotFound)?;
        self.resolver.resolve(route, who).map_err(|why| match why {
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

/// Puts the [`Upstream`] into the request's extensions, by its [`SessionRoute`] and [`Identity`], or refuses.
///
/// Without either of the two the answer is that of a session that does not exist.
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
                ResponseFuture::passed(self.inner.call(request))
            }
            Err(refusal) => {
                ResponseFuture::refused(self.layer.refusals.refuse(&refusal, &request.into_parts().0))
            }
        }
    }
}

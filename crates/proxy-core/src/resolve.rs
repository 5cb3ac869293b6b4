//! `Resolve`: finds the upstream of a request's session.

use std::{
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::{Either, select};
use http::{Extensions, Request, Response};
use http_body::Body as _;
use session_key::{Identity, SessionRoute};
use tower::{Layer, Service, ServiceExt as _};

use crate::{
    body::Body,
    held_body::HeldBody,
    refusal::{PlainRefusals, Refusal, RefusalContext, Refusals},
    request_kind::RequestKind,
    resolver::{ResolveError, Resolver, Upstream},
    response_future::ResponseFuture,
    wake::{Until, Wake, WakeFuture, WakeRequest},
};

/// Makes [`Resolve`] services.
#[derive(Clone)]
pub struct ResolveLayer {
    resolver: Arc<dyn Resolver>,
    refusals: Arc<dyn Refusals>,
    wake: Option<Arc<dyn Wake>>,
}

impl ResolveLayer {
    /// Resolves requests with `resolver`; refuses with [`PlainRefusals`], and starts no session.
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver, refusals: Arc::new(PlainRefusals), wake: None }
    }

    /// Starts sessions that are not running with `wake`, if somebody asks for them; see [`Resolve`].
    #[must_use]
    pub fn with_wake(mut self, wake: Arc<dyn Wake>) -> Self {
        self.wake = Some(wake);
        self
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
            ResolveError::NotRunning { retry_after } => {
                Refusal::NotRunning { hash: route.hash, retry_after, reason: None }
            }
        })
    }

    fn refuse(&self, refusal: &Refusal, request: &Request<Body>) -> Response<Body> {
        self.refusals.refuse(refusal, &RefusalContext::from(request))
    }

    /// Starts the session of a request that was refused, if the request asks for that.
    fn wake(&self, refusal: &Refusal, request: &Request<Body>) -> Option<WakeFuture> {
        let wake = self.wake.as_ref().filter(|_| matches!(refusal, Refusal::NotRunning { .. }))?;
        let until = Until::of(RequestKind::of(request.method(), request.headers()))?;
        let extensions = request.extensions();
        let (route, identity) = (extensions.get()?, extensions.get()?);
        Some(wake.wake(&WakeRequest { route, identity, extensions }, until))
    }

    /// Holds a request until its session was woken, and then resolves it again.
    async fn hold<S>(
        self,
        mut request: Request<Body>,
        waking: WakeFuture,
        inner: S,
    ) -> Result<Response<Body>, Infallible>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        let woken = if request.body().is_end_stream() {
            waking.await
        } else {
            let mut body = HeldBody::new(std::mem::take(request.body_mut()));
            let woken = match select(waking, Box::pin(body.read_ahead())).await {
                Either::Left((woken, _)) => woken,
                Either::Right((never, _)) => match never {},
            };
            *request.body_mut() = Body::new(body);
            woken
        };
        match woken.and_then(|()| self.resolve(request.extensions())) {
            Ok(upstream) => {
                request.extensions_mut().insert(upstream);
                inner.oneshot(request).await
            }
            Err(refusal) => Ok(self.refuse(&refusal, &request)),
        }
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
///
/// With a [`Wake`], a request to a session that is not running starts it, depending on its [`RequestKind`]: a
/// browser that opens an address is refused once the start is recorded, and should then be shown a page that
/// waits; a program's request is held until the session runs. Pages and probes start nothing.
#[derive(Debug, Clone)]
pub struct Resolve<S> {
    inner: S,
    layer: ResolveLayer,
}

impl<S> Service<Request<Body>> for Resolve<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
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
            Err(refusal) => match self.layer.wake(&refusal, &request) {
                Some(waking) => {
                    let held = self.layer.clone().hold(request, waking, self.inner.clone());
                    ResponseFuture::held(Box::pin(held))
                }
                None => ResponseFuture::refused(self.layer.refuse(&refusal, &request)),
            },
        }
    }
}

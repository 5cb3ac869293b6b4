//! `Resolve`: finds the upstream of a request's session.

use std::{
    any::Any,
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
    route_key::RouteKey,
    wake::{Until, Wake, WakeFuture, WakeRequest},
};

/// Makes [`Resolve`] services.
pub struct ResolveLayer<K = SessionRoute, I = Identity, R = PlainRefusals> {
    resolver: Arc<dyn Resolver<K, I>>,
    refusals: R,
    wake: Option<Arc<dyn Wake<K, I>>>,
}

impl<K, I> ResolveLayer<K, I> {
    /// Resolves requests with `resolver`; refuses with [`PlainRefusals`], and starts no session.
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolver<K, I>>) -> Self {
        Self { resolver, refusals: PlainRefusals, wake: None }
    }
}

impl<K, I, R> ResolveLayer<K, I, R> {
    /// Starts sessions that are not running with `wake`, if somebody asks for them; see [`Resolve`].
    #[must_use]
    pub fn with_wake(mut self, wake: Arc<dyn Wake<K, I>>) -> Self {
        self.wake = Some(wake);
        self
    }

    /// Refuses with `refusals`.
    #[must_use]
    pub fn with_refusals<R2>(self, refusals: R2) -> ResolveLayer<K, I, R2> {
        ResolveLayer { resolver: self.resolver, refusals, wake: self.wake }
    }
}

impl<K: RouteKey, I: Clone + Send + Sync + 'static, R> ResolveLayer<K, I, R> {
    fn resolve(&self, extensions: &Extensions) -> Result<Upstream, Refusal> {
        let route = extensions.get::<K>().ok_or(Refusal::NotFound)?;
        let identity = extensions.get::<I>().ok_or(Refusal::NotFound)?;
        match self.resolver.resolve(route, identity) {
            Ok(upstream) => Ok(Upstream { pool: route.pool(), ..upstream }),
            Err(ResolveError::NotFound) => Err(Refusal::NotFound),
            Err(ResolveError::NotRunning { retry_after }) => {
                Err(Refusal::NotRunning { retry_after, reason: None })
            }
        }
    }

    fn refuse<ReqB, ResB>(&self, refusal: &Refusal, request: &Request<ReqB>) -> Response<ResB>
    where
        R: Refusals<ResB>,
    {
        self.refusals.refuse(refusal, &RefusalContext::from(request))
    }

    /// Starts the session of a request that was refused, if the request asks for that.
    fn wake<ReqB>(&self, refusal: &Refusal, request: &Request<ReqB>) -> Option<WakeFuture> {
        let wake = self.wake.as_ref().filter(|_| matches!(refusal, Refusal::NotRunning { .. }))?;
        let until = Until::of(RequestKind::of(request.method(), request.headers()))?;
        let extensions = request.extensions();
        let (route, identity) = (extensions.get()?, extensions.get()?);
        Some(wake.wake(&WakeRequest { route, identity, extensions }, until))
    }

    /// Holds a request until its session was woken, and then resolves it again.
    async fn hold<S, ReqB, ResB>(
        self,
        mut request: Request<ReqB>,
        waking: WakeFuture,
        inner: S,
    ) -> Result<Response<ResB>, S::Error>
    where
        S: Service<Request<ReqB>, Response = Response<ResB>>,
        ReqB: 'static,
        R: Refusals<ResB>,
    {
        // Other types can't be put together again from what was read.
        let woken = match (request.body_mut() as &mut dyn Any).downcast_mut::<Body>() {
            Some(received) if !received.is_end_stream() => {
                let mut body = HeldBody::new(std::mem::take(received));
                let woken = match select(waking, Box::pin(body.read_ahead())).await {
                    Either::Left((woken, _)) => woken,
                    Either::Right((never, _)) => match never {},
                };
                *received = Body::new(body);
                woken
            }
            _ => waking.await,
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

impl<K, I, R: Clone> Clone for ResolveLayer<K, I, R> {
    fn clone(&self) -> Self {
        Self { resolver: self.resolver.clone(), refusals: self.refusals.clone(), wake: self.wake.clone() }
    }
}

impl<K, I, R> fmt::Debug for ResolveLayer<K, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResolveLayer")
    }
}

impl<S, K, I, R: Clone> Layer<S> for ResolveLayer<K, I, R> {
    type Service = Resolve<S, K, I, R>;

    fn layer(&self, inner: S) -> Resolve<S, K, I, R> {
        Resolve { inner, layer: self.clone() }
    }
}

/// Puts the [`Upstream`] of a request's route and identity, by default a [`SessionRoute`] and an
/// [`Identity`], into its extensions, or refuses the request.
///
/// A request without a route or without an identity is answered as if its session did not exist.
///
/// With a [`Wake`], a request to a session that is not running starts it, depending on its [`RequestKind`]: a
/// browser that opens an address is refused once the start is recorded, and should then be shown a page that
/// waits; a program's request is held until the session runs. Pages and probes start nothing.
///
/// While a request is held, a short body is read ahead if it is a [`Body`]: without that, [`crate::serve`]
/// would notice a client that went away only once its request is forwarded.
///
/// ```
/// use std::{collections::HashMap, convert::Infallible, net::SocketAddr, sync::Arc};
///
/// use http::{Request, Response, StatusCode};
/// use proxy_core::{Body, ResolveError, ResolveLayer, Resolver, Upstream};
/// use session_key::{Identity, SessionHash, SessionRoute, Target};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// struct Sessions(HashMap<SessionHash, (Identity, SocketAddr)>);
///
/// impl Resolver for Sessions {
///     fn resolve(&self, route: &SessionRoute, identity: &Identity) -> Result<Upstream, ResolveError> {
///         match self.0.get(&route.hash) {
///             Some((owner, address)) if owner == identity => Ok(Upstream::new(*address)),
///             _ => Err(ResolveError::NotFound),
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let hash: SessionHash = "a48da0606867".parse()?;
/// let (ann, bob) = (Identity::parse("ann@example.com")?, Identity::parse("bob@example.com")?);
/// let sessions = Sessions([(hash, (ann.clone(), "127.0.0.1:4096".parse()?))].into());
/// // In a proxy: `TrackActivity` and `Forward`.
/// let service = ServiceBuilder::new().layer(ResolveLayer::new(Arc::new(sessions))).service_fn(
///     |request: Request<Body>| async move {
///         assert!(request.extensions().get::<Upstream>().is_some());
///         Ok::<_, Infallible>(Response::new(Body::empty()))
///     },
/// );
///
/// // `HostRouter` adds the route, and `Identify` the identity.
/// let status = async |identity: Identity| -> anyhow::Result<StatusCode> {
///     let route = SessionRoute { hash, target: Target::Opencode };
///     let request = Request::get("/").extension(route).extension(identity).body(Body::empty())?;
///     Ok(service.clone().oneshot(request).await?.status())
/// };
/// assert_eq!(status(ann).await?, StatusCode::OK);
/// assert_eq!(status(bob).await?, StatusCode::NOT_FOUND);
/// # Ok(())
/// # }
/// ```
pub struct Resolve<S, K = SessionRoute, I = Identity, R = PlainRefusals> {
    inner: S,
    layer: ResolveLayer<K, I, R>,
}

impl<S: Clone, K, I, R: Clone> Clone for Resolve<S, K, I, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, K, I, R> fmt::Debug for Resolve<S, K, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolve").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, K, I, R, ReqB, ResB> Service<Request<ReqB>> for Resolve<S, K, I, R>
where
    S: Service<Request<ReqB>, Response = Response<ResB>, Future: Send> + Clone + Send + 'static,
    K: RouteKey,
    I: Clone + Send + Sync + 'static,
    R: Refusals<ResB> + Clone,
    ReqB: Send + 'static,
    ResB: 'static,
{
    type Response = Response<ResB>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
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

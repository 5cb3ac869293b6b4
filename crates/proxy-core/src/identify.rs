//! `Identify`: finds out who sends a request.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use session_key::Identity;
use tower::{Layer, Service};

use crate::{
    identity::extractor::IdentityExtractor,
    refusal::{PlainRefusals, Refusal, RefusalContext, Refusals},
    response_future::ResponseFuture,
};

/// Makes [`Identify`] services.
pub struct IdentifyLayer<I = Identity, R = PlainRefusals> {
    extractor: Arc<dyn IdentityExtractor<I>>,
    refusals: R,
}

impl<I> IdentifyLayer<I> {
    /// Identifies users with `extractor`; refuses with [`PlainRefusals`].
    #[must_use]
    pub fn new(extractor: Arc<dyn IdentityExtractor<I>>) -> Self {
        Self { extractor, refusals: PlainRefusals }
    }
}

impl<I, R> IdentifyLayer<I, R> {
    /// Refuses with `refusals`.
    #[must_use]
    pub fn with_refusals<R2>(self, refusals: R2) -> IdentifyLayer<I, R2> {
        IdentifyLayer { extractor: self.extractor, refusals }
    }
}

impl<I, R: Clone> Clone for IdentifyLayer<I, R> {
    fn clone(&self) -> Self {
        Self { extractor: self.extractor.clone(), refusals: self.refusals.clone() }
    }
}

impl<I, R> fmt::Debug for IdentifyLayer<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentifyLayer")
    }
}

impl<S, I, R: Clone> Layer<S> for IdentifyLayer<I, R> {
    type Service = Identify<S, I, R>;

    fn layer(&self, inner: S) -> Identify<S, I, R> {
        Identify { inner, layer: self.clone() }
    }
}

/// Puts the caller's identity, by default a [`session_key::Identity`], into the request's extensions, or
/// refuses the request: 401, or 400 if it names two users.
///
/// ```
/// use std::{convert::Infallible, sync::Arc};
///
/// use http::{Request, Response, StatusCode};
/// use proxy_core::{Body, IdentifyLayer, PeerAddr, TrustedHeaders};
/// use session_key::Identity;
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let sign_in = TrustedHeaders::from_peers(vec!["10.0.0.0/8".parse()?]);
/// let service = ServiceBuilder::new().layer(IdentifyLayer::new(Arc::new(sign_in))).service_fn(
///     |request: Request<Body>| async move {
///         assert!(request.extensions().get::<Identity>().is_some());
///         Ok::<_, Infallible>(Response::new(Body::empty()))
///     },
/// );
///
/// // `serve` adds the address of the connection's other end.
/// let status = async |peer: &str| -> anyhow::Result<StatusCode> {
///     let request = Request::get("/")
///         .header("x-auth-request-email", "me@example.com")
///         .extension(PeerAddr(peer.parse()?))
///         .body(Body::empty())?;
///     Ok(service.clone().oneshot(request).await?.status())
/// };
/// assert_eq!(status("10.1.2.3:50000").await?, StatusCode::OK);
/// assert_eq!(status("192.0.2.1:50000").await?, StatusCode::UNAUTHORIZED);
/// # Ok(())
/// # }
/// ```
pub struct Identify<S, I = Identity, R = PlainRefusals> {
    inner: S,
    layer: IdentifyLayer<I, R>,
}

impl<S: Clone, I, R: Clone> Clone for Identify<S, I, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, I, R> fmt::Debug for Identify<S, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identify").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, I, R, ReqB, ResB> Service<Request<ReqB>> for Identify<S, I, R>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    I: Clone + Send + Sync + 'static,
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

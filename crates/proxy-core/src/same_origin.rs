//! `SameOrigin`: keeps pages of other origins away from sessions.

use std::{
    fmt,
    marker::PhantomData,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use session_key::SessionRoute;
use tower::{Layer, Service};

use crate::{
    port_hosts::{authority_of, port_of_sibling, same_host},
    refusal::{PlainRefusals, Refusal, RefusalContext, Refusals},
    response_future::ResponseFuture,
    route_key::RouteKey,
};

/// Makes [`SameOrigin`] services.
pub struct SameOriginLayer<K = SessionRoute, R = PlainRefusals> {
    refusals: R,
    route: PhantomData<fn() -> K>,
}

impl SameOriginLayer {
    /// Refuses with [`PlainRefusals`].
    #[must_use]
    pub fn new() -> Self {
        Self { refusals: PlainRefusals, route: PhantomData }
    }
}

impl<K, R> SameOriginLayer<K, R> {
    /// Reads routes of another type from requests' extensions.
    #[must_use]
    pub fn with_route<K2: RouteKey>(self) -> SameOriginLayer<K2, R> {
        SameOriginLayer { refusals: self.refusals, route: PhantomData }
    }

    /// Refuses with `refusals`.
    #[must_use]
    pub fn with_refusals<R2>(self, refusals: R2) -> SameOriginLayer<K, R2> {
        SameOriginLayer { refusals, route: PhantomData }
    }
}

impl Default for SameOriginLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, R: Clone> Clone for SameOriginLayer<K, R> {
    fn clone(&self) -> Self {
        Self { refusals: self.refusals.clone(), route: PhantomData }
    }
}

impl<K, R> fmt::Debug for SameOriginLayer<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SameOriginLayer")
    }
}

impl<S, K, R: Clone> Layer<S> for SameOriginLayer<K, R> {
    type Service = SameOrigin<S, K, R>;

    fn layer(&self, inner: S) -> SameOrigin<S, K, R> {
        SameOrigin { inner, layer: self.clone() }
    }
}

/// Refuses requests to a session's host that pages of another origin sent.
///
/// Sub-domains of one domain are the same site, so browsers send cookies between them, and a page of another
/// session is hostile. A request is refused if its `Origin` is not the host that it goes to; if the browser
/// marks it as sent by another origin (`Sec-Fetch-Site`), unless the user followed a link; and if a browser
/// opens a WebSocket without `Origin`. Programs that are no browsers send neither header and pass.
///
/// The dev servers of one session (hosts `<port>-…` with the same rest) may use each other, as they do on
/// `localhost`: a front end on one port calls the API on another. The session's opencode is not one of them.
///
/// ```
/// use std::convert::Infallible;
///
/// use http::{Request, Response, StatusCode};
/// use proxy_core::{Body, SameOriginLayer};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let service = ServiceBuilder::new()
///     .layer(SameOriginLayer::new())
///     .service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
///
/// let status = async |origin: &str| -> anyhow::Result<StatusCode> {
///     let request = Request::post("/").header("host", "a.example").header("origin", origin);
///     Ok(service.clone().oneshot(request.body(Body::empty())?).await?.status())
/// };
/// assert_eq!(status("https://a.example").await?, StatusCode::OK);
/// assert_eq!(status("https://b.example").await?, StatusCode::FORBIDDEN);
/// # Ok(())
/// # }
/// ```
pub struct SameOrigin<S, K = SessionRoute, R = PlainRefusals> {
    inner: S,
    layer: SameOriginLayer<K, R>,
}

impl<S: Clone, K, R: Clone> Clone for SameOrigin<S, K, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, K, R> fmt::Debug for SameOrigin<S, K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SameOrigin").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, K, R, ReqB, ResB> Service<Request<ReqB>> for SameOrigin<S, K, R>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    K: RouteKey,
    R: Refusals<ResB>,
{
    type Response = Response<ResB>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let port = request.extensions().get().and_then(K::dev_server_port);
        if is_same_origin(request.method(), request.headers(), port) {
            return ResponseFuture::called(self.inner.call(request));
        }
        let context = RefusalContext::from(&request);
        ResponseFuture::refused(self.layer.refusals.refuse(&Refusal::CrossOrigin, &context))
    }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

fn is_same_origin(method: &Method, headers: &HeaderMap, port: Option<u16>) -> bool {
    let upgrade = headers.contains_key(header::UPGRADE) || *method == Method::CONNECT;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let is_sibling = |address: &HeaderValue| {
        let other = address.to_str().ok().and_then(authority_of);
        matches!((host, port, other), (Some(host), Some(port), Some(other))
            if port_of_sibling(host, port, other).is_some())
    };
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let origin = origins.next();
    if let Some(origin) = origin {
        let name = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
        let same = matches!((name, host), (Some(name), Some(host)) if same_host(name, host));
        if !(same || is_sibling(origin)) || origins.next().is_some() {
            return false;
        }
    }
    if upgrade {
        // Browsers differ in whether and how they mark WebSockets, but all of them send `Origin`.
        return origin.is_some()
            || !(headers.contains_key(header::COOKIE) || headers.keys().any(is_sec_fetch));
    }
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    match value(headers, &SEC_FETCH_SITE) {
        None | Some("same-origin" | "none") => true,
        Some(_) if origin.is_some_and(is_sibling) => true,
        // Images and scripts are requested without `Origin`.
        Some(_) if is_read && headers.get(header::REFERER).is_some_and(is_sibling) => true,
        // The user followed a link.
        Some(_) => {
            is_read
                && value(headers, &SEC_FETCH_MODE) == Some("navigate")
                && value(headers, &SEC_FETCH_DEST) == Some("document")
        }
    }
}

fn is_sec_fetch(name: &HeaderName) -> bool {
    name.as_str().starts_with("sec-fetch-")
}

fn value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

//! `HostRouter`: routes a request by its host name.

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use session_key::HostScheme;
use tower::Service;

use crate::{
    refusal::{PlainRefusals, Refusal, RefusalContext, Refusals},
    response_future::{EitherFuture, ResponseFuture},
    route_hosts::{HostRoute, RouteHosts},
};

/// Routes a request to the session's stack or to the site, by its host name; refuses unknown host names.
///
/// The route, by default a [`session_key::SessionRoute`], goes into the request's extensions. The request
/// passed on has exactly one `Host`, whatever the HTTP version.
///
/// ```
/// use std::{convert::Infallible, sync::Arc};
///
/// use http::{Request, Response, StatusCode};
/// use proxy_core::{Body, HostRouter};
/// use session_key::{HostScheme, SessionRoute};
/// use tower::{ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// // In a proxy: `Identify`, `SameOrigin`, `Resolve`, `TrackActivity` and `Forward`.
/// let session = service_fn(|request: Request<Body>| async move {
///     let hash = request.extensions().get().map(|route: &SessionRoute| route.hash.to_string());
///     Ok::<_, Infallible>(Response::new(Body::from(hash.unwrap_or_default())))
/// });
/// let site = service_fn(|_: Request<Body>| async { Ok(Response::new(Body::from("the site"))) });
/// let hosts = HostScheme::new("sessions.example", "", "attach-")?;
/// let router = HostRouter::new(Arc::new(hosts), session, site);
///
/// let status = async |host: &str| -> anyhow::Result<StatusCode> {
///     let request = Request::get("/").header("host", host).body(Body::empty())?;
///     Ok(router.clone().oneshot(request).await?.status())
/// };
/// assert_eq!(status("a48da0606867.sessions.example").await?, StatusCode::OK);
/// assert_eq!(status("sessions.example").await?, StatusCode::OK);
/// assert_eq!(status("other.example").await?, StatusCode::MISDIRECTED_REQUEST);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HostRouter<S, W, H = Arc<HostScheme>, R = PlainRefusals> {
    hosts: H,
    session: S,
    site: W,
    refusals: R,
}

impl<S, W, H> HostRouter<S, W, H> {
    /// Routes to `session` and `site`; refuses with [`PlainRefusals`].
    pub fn new(hosts: H, session: S, site: W) -> Self {
        Self { hosts, session, site, refusals: PlainRefusals }
    }
}

impl<S, W, H, R> HostRouter<S, W, H, R> {
    /// Refuses with `refusals`.
    #[must_use]
    pub fn with_refusals<R2>(self, refusals: R2) -> HostRouter<S, W, H, R2> {
        HostRouter { hosts: self.hosts, session: self.session, site: self.site, refusals }
    }

    fn refuse<F, ReqB, ResB, E>(&self, refusal: &Refusal, request: &Request<ReqB>) -> ResponseFuture<F>
    where
        F: Future<Output = Result<Response<ResB>, E>>,
        R: Refusals<ResB>,
    {
        ResponseFuture::refused(self.refusals.refuse(refusal, &RefusalContext::from(request)))
    }
}

impl<S, W, H: fmt::Debug, R> fmt::Debug for HostRouter<S, W, H, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostRouter").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl<S, W, H, R, ReqB, ResB> Service<Request<ReqB>> for HostRouter<S, W, H, R>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    W: Service<Request<ReqB>, Response = Response<ResB>, Error = S::Error>,
    H: RouteHosts,
    R: Refusals<ResB>,
{
    type Response = Response<ResB>;
    type Error = S::Error;
    type Future = ResponseFuture<EitherFuture<S::Future, W::Future>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        match self.session.poll_ready(context) {
            Poll::Ready(Ok(())) => self.site.poll_ready(context),
            other => other,
        }
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let host = match single_host(request.uri(), request.headers()) {
            Ok(host) => host,
            Err(error) => return self.refuse(&Refusal::Malformed(error), &request),
        };
        let route = self.hosts.route(host.to_str().unwrap_or_default());
        if let Cow::Owned(host) = host {
            request.headers_mut().insert(header::HOST, host);
        }
        match route {
            HostRoute::Unknown => self.refuse(&Refusal::UnknownHost, &request),
            HostRoute::Site => ResponseFuture::called(EitherFuture::right(self.site.call(request))),
            HostRoute::Session(route) => {
                request.extensions_mut().insert(route);
                ResponseFuture::called(EitherFuture::left(self.session.call(request)))
            }
        }
    }
}

/// Returns the one host that a request names: by `Host`, `:authority` or an absolute target (RFC 9112 §3.2,
/// RFC 9113 §8.3.1): as it is in `Host`, or one that `Host` is to be set to. A request with two different
/// hosts is ambiguous.
fn single_host<'a>(uri: &Uri, headers: &'a HeaderMap) -> Result<Cow<'a, HeaderValue>, &'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("the request has more than one Host\n");
    }
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let host = match (host, authority) {
        (None, None) => return Err("the request names no host\n"),
        (Some(host), None) => Some(Cow::Borrowed(host)),
        (Some(host), Some(authority)) if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) => {
            return Err("the request names two hosts\n");
        }
        (_, Some(authority)) => HeaderValue::from_str(authority).ok().map(Cow::Owned),
    };
    host.filter(|host| is_host(host.as_bytes())).ok_or("the request's host is not a name\n")
}

/// Whether this is a `host[:port]` (RFC 3986 §3.2.2, restricted to the characters of DNS names and IP
/// addresses).
fn is_host(host: &[u8]) -> bool {
    let (name, suffix) = match host.strip_prefix(b"[") {
        Some(address) => {
            let Some(end) = address.iter().position(|&byte| byte == b']') else { return false };
            let (address, suffix) = address.split_at(end);
            if !address.iter().all(|&byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')) {
                return false;
            }
            (address, &suffix[1..])
        }
        None => host.split_at(host.iter().position(|&byte| byte == b':').unwrap_or(host.len())),
    };
    let is_name_byte = |&byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
    !name.is_empty() && name.iter().all(is_name_byte) && is_port_suffix(suffix)
}

fn is_port_suffix(suffix: &[u8]) -> bool {
    match suffix.strip_prefix(b":") {
        None => suffix.is_empty(),
        Some(digits) => digits
            .iter()
            .try_fold(0, |port: u16, byte| {
                let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?;
                port.checked_mul(10)?.checked_add(digit)
            })
            .is_some(),
    }
}

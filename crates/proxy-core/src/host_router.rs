//! `HostRouter`: routes a request by its host name.

use std::{
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::Either;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use session_key::{HostScheme, Route};
use tower::Service;

use crate::{
    body::Body,
    refusal::{PlainRefusals, Refusal, RefusalContext, Refusals},
    response_future::ResponseFuture,
};

/// Routes a request to the session's stack or to the site, by its host name; refuses unknown host names.
///
/// The [`session_key::SessionRoute`] goes into the request's extensions. The request passed on has exactly
/// one `Host`, whatever the HTTP version.
#[derive(Clone)]
pub struct HostRouter<S, W> {
    scheme: Arc<HostScheme>,
    session: S,
    site: W,
    refusals: Arc<dyn Refusals>,
}

impl<S, W> HostRouter<S, W> {
    /// Routes to `session` and `site`; refuses with [`PlainRefusals`].
    pub fn new(scheme: Arc<HostScheme>, session: S, site: W) -> Self {
        Self { scheme, session, site, refusals: Arc::new(PlainRefusals) }
    }

    /// Refuses with `refusals`.
    #[must_use]
    pub fn with_refusals(mut self, refusals: Arc<dyn Refusals>) -> Self {
        self.refusals = refusals;
        self
    }

    fn refuse<F>(&self, refusal: &Refusal, request: &Request<Body>) -> ResponseFuture<F> {
        ResponseFuture::refused(self.refusals.refuse(refusal, &RefusalContext::from(request)))
    }
}

impl<S, W> fmt::Debug for HostRouter<S, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostRouter").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

impl<S, W> Service<Request<Body>> for HostRouter<S, W>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    W: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture<Either<S::Future, W::Future>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match self.session.poll_ready(context) {
            Poll::Ready(_) => self.site.poll_ready(context),
            Poll::Pending => Poll::Pending,
        }
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let host = match single_host(request.uri(), request.headers()) {
            Ok(host) => host,
            Err(error) => return self.refuse(&Refusal::Malformed(error), &request),
        };
        let route = self.scheme.parse(host.to_str().unwrap_or_default());
        request.headers_mut().insert(header::HOST, host);
        match route {
            Route::UnknownHost => self.refuse(&Refusal::UnknownHost, &request),
            Route::Site => ResponseFuture::called(Either::Right(self.site.call(request))),
            Route::Session(route) => {
                request.extensions_mut().insert(route);
                ResponseFuture::called(Either::Left(self.session.call(request)))
            }
        }
    }
}

/// Returns the one host that a request names: by `Host`, `:authority` or an absolute target (RFC 9112 §3.2,
/// RFC 9113 §8.3.1). A request with two different hosts is ambiguous.
fn single_host(uri: &Uri, headers: &HeaderMap) -> Result<HeaderValue, &'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("the request has more than one Host\n");
    }
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let host = match (host, authority) {
        (None, None) => return Err("the request names no host\n"),
        (Some(host), None) => Some(host.clone()),
        (Some(host), Some(authority)) if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) => {
            return Err("the request names two hosts\n");
        }
        (_, Some(authority)) => HeaderValue::from_str(authority).ok(),
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

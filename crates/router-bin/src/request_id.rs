//! A unique id for each request, by which the log, the error answer and the client name it.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, ready},
};

use http::{Extensions, HeaderName, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower::Service;

/// The header that carries the id: inwards to the API, which puts it into its errors, and back to the client.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes ids of a random number, which differs between runs and stacks of the router, and a counter.
#[derive(Debug, Clone)]
pub(crate) struct RequestIds {
    prefix: u32,
    next: Arc<AtomicU32>,
}

impl RequestIds {
    /// Returns a new sequence of ids.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { prefix: rand::random(), next: Arc::default() }
    }

    /// Returns the next id.
    pub(crate) fn next(&self) -> RequestId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = (u64::from(self.prefix) << 32) | u64::from(number);
        let mut digits = [0; 16];
        for (place, digit) in digits.iter_mut().rev().enumerate() {
            *digit = b"0123456789abcdef"[(id >> (4 * place)) as usize & 15];
        }
        RequestId(HeaderValue::from_bytes(&digits).unwrap_or(HeaderValue::from_static("")))
    }
}

/// The id of a request: one of its extensions.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// Returns the id as text.
    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// Returns the id as the header's value.
    pub(crate) fn into_value(self) -> HeaderValue {
        self.0
    }
}

/// Gives each request an id, as an extension and a header, and each response the same header. An id that the
/// client or the session sent is replaced.
///
/// tower-http's layers for this are three, and each searches the headers.
#[derive(Debug, Clone)]
pub(crate) struct Identified<S> {
    inner: S,
    ids: RequestIds,
}

/// Returns a service with [`Identified`] requests.
pub(crate) fn identified<S>(inner: S, ids: RequestIds) -> Identified<S> {
    Identified { inner, ids }
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for Identified<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
{
    type Response = Response<ResB>;
    type Error = S::Error;
    type Future = IdentifiedFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let id = self.ids.next();
        request.headers_mut().insert(X_REQUEST_ID, id.0.clone());
        request.extensions_mut().insert(id.clone());
        IdentifiedFuture { inner: self.inner.call(request), id }
    }
}

pin_project! {
    /// The future of [`Identified`].
    pub(crate) struct IdentifiedFuture<F> {
        #[pin]
        inner: F,
        id: RequestId,
    }
}

impl<F, B, E> Future for IdentifiedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(context))?;
        response.headers_mut().insert(X_REQUEST_ID, this.id.0.clone());
        Poll::Ready(Ok(response))
    }
}

/// Returns the id of a request by its extensions; empty if it has none.
pub(crate) fn of(extensions: &Extensions) -> &str {
    extensions.get().map(RequestId::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, convert::Infallible};

    use proxy_core::Body;
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    #[tokio::test]
    async fn every_request_has_an_id_of_its_own_whatever_client_and_session_send() {
        async fn handler(request: Request<Body>) -> Result<Response<Body>, Infallible> {
            let id = of(request.extensions()).to_owned();
            assert_eq!(request.headers()[X_REQUEST_ID], id.as_str());
            let mut response = Response::new(id.into());
            response.headers_mut().insert(X_REQUEST_ID, HeaderValue::from_static("the session's"));
            Ok(response)
        }
        let service = identified(service_fn(handler), RequestIds::new());
        let mut ids = HashSet::new();
        for _ in 0..3 {
            let request = Request::builder().header(X_REQUEST_ID, "the client's").body(Body::empty());
            let Ok(response) = service.clone().oneshot(request.expect("a request")).await;
            let id = response.headers()[X_REQUEST_ID].to_str().expect("text").to_owned();
            assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
            ids.insert(id);
        }
        assert_eq!(ids.len(), 3);
    }
}

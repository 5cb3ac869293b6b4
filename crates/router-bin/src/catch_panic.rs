//! Catches panics of request handlers.
//!
//! tower-http's `CatchPanic` is not used: it boxes every response's body, and its handler does not see the
//! request, whose id the log line and the answer need.

use std::{
    any::Any,
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use api::server::error_response;
use http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use proxy_core::Body;
use tower::Service;

use crate::{metrics::RequestCounts, request_id::RequestId};

/// Answers a panic with 500, counts it and logs it.
#[derive(Debug, Clone)]
pub(crate) struct CatchPanic<S> {
    counts: Arc<RequestCounts>,
    inner: S,
}

impl<S> CatchPanic<S> {
    /// Wraps a service; panics are counted in `counts`.
    #[must_use]
    pub(crate) fn new(inner: S, counts: Arc<RequestCounts>) -> Self {
        Self { counts, inner }
    }
}

impl<S> Service<Request<Body>> for CatchPanic<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = CatchPanicFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (counts, id) = (self.counts.clone(), request.extensions().get().cloned());
        // Unwind safe: requests share only state behind locks, and a layer keeps nothing of a request.
        match catch_unwind(AssertUnwindSafe(|| self.inner.call(request))) {
            Ok(called) => CatchPanicFuture { called: Some(called), panic: None, counts, id },
            Err(panic) => CatchPanicFuture { called: None, panic: Some(panic), counts, id },
        }
    }
}

pin_project! {
    /// The future of [`CatchPanic`].
    pub(crate) struct CatchPanicFuture<F> {
        #[pin]
        called: Option<F>,
        panic: Option<Box<dyn Any + Send>>,
        counts: Arc<RequestCounts>,
        id: Option<RequestId>,
    }
}

impl<F> Future for CatchPanicFuture<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let panic = match this.called.as_pin_mut() {
            Some(called) => match catch_unwind(AssertUnwindSafe(|| called.poll(context))) {
                Ok(poll) => return poll,
                Err(panic) => Some(panic),
            },
            None => this.panic.take(),
        };
        let id = this.id.as_ref().map(RequestId::as_str).unwrap_or_default();
        Poll::Ready(Ok(internal_error(panic.as_deref(), id, this.counts)))
    }
}

fn internal_error(panic: Option<&(dyn Any + Send)>, id: &str, counts: &RequestCounts) -> Response<Body> {
    counts.record_panic();
    let message = panic.and_then(|panic| match panic.downcast_ref::<&str>() {
        Some(message) => Some(*message),
        None => panic.downcast_ref::<String>().map(String::as_str),
    });
    tracing::error!(request.id = id, panic = message, "request handler panicked");
    let text = "The router failed. Its log says why.";
    error_response(StatusCode::INTERNAL_SERVER_ERROR, "internal", text, Some(id))
}

#[cfg(test)]
mod tests {
    use std::{future::Ready, time::UNIX_EPOCH};

    use api::wire::ErrorBody;
    use http_body_util::BodyExt as _;
    use tower::{ServiceExt as _, service_fn};

    use super::*;
    use crate::{
        metrics::Metrics,
        request_id::{RequestIds, X_REQUEST_ID, identified},
    };

    #[tokio::test]
    async fn a_panic_is_answered_and_counted_and_the_next_request_is_served() {
        fn in_call(_: Request<Body>) -> Ready<Result<Response<Body>, Infallible>> {
            panic!("in call")
        }
        async fn in_future(_: Request<Body>) -> Result<Response<Body>, Infallible> {
            panic!("in the future")
        }
        let metrics = Metrics::new(UNIX_EPOCH);
        let in_call = CatchPanic::new(service_fn(in_call), metrics.request_counts());
        let in_future = CatchPanic::new(service_fn(in_future), metrics.request_counts());
        let (in_call, in_future) =
            (identified(in_call, RequestIds::new()), identified(in_future, RequestIds::new()));
        for _ in 0..2 {
            let request = || Request::new(Body::empty());
            let Ok(first) = in_call.clone().oneshot(request()).await;
            let Ok(second) = in_future.clone().oneshot(request()).await;
            for response in [first, second] {
                assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
                let id = response.headers()[X_REQUEST_ID].to_str().expect("text").to_owned();
                let body = response.into_body().collect().await.expect("a body").to_bytes();
                let body: ErrorBody = serde_json::from_slice(&body).expect("JSON");
                assert_eq!(body.request_id, Some(id));
            }
        }
        let text = metrics.render([], true, 0).expect("text");
        assert!(text.contains("opencode_router_panics_total 4"), "{text}");
    }
}

//! The outermost layer: a name for each request, to find it in the log again, and an answer even where a handler
//! panics.

use std::{
    any::Any,
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
};

use api::wire::ErrorBody;
use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use proxy_core::Body;
use tower::{Layer, Service};

use crate::metrics::Metrics;

/// The header that carries a request's id: to the API, which puts it into its errors, and back to the client.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request's id, among its extensions. It is made here, whatever the client says.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// The id as it stands in the header.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// Makes [`Shield`] services.
#[derive(Debug, Clone)]
pub(crate) struct ShieldLayer {
    /// Tells two runs of the router apart.
    run: u32,
    next: Arc<AtomicU32>,
    metrics: Arc<Metrics>,
}

impl ShieldLayer {
    /// A layer whose ids begin with something random; panics are counted.
    #[must_use]
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { run: rand::random(), next: Arc::default(), metrics }
    }

    fn id(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        HeaderValue::try_from(format!("{:08x}{number:08x}", self.run))
            .unwrap_or(HeaderValue::from_static("0"))
    }
}

impl<S> Layer<S> for ShieldLayer {
    type Service = Shield<S>;

    fn layer(&self, inner: S) -> Shield<S> {
        Shield { layer: self.clone(), inner }
    }
}

/// Gives every request a [`RequestId`] and every response its header; a panic is answered 500.
#[derive(Debug, Clone)]
pub(crate) struct Shield<S> {
    layer: ShieldLayer,
    inner: S,
}

impl<S> Service<Request<Body>> for Shield<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let id = self.layer.id();
        request.headers_mut().insert(X_REQUEST_ID, id.clone());
        request.extensions_mut().insert(RequestId(id.clone()));
        // A panic leaves nothing half-done that another request could see: what they share is behind locks of
        // its own, and a service is cloned for each connection.
        let called = catch_unwind(AssertUnwindSafe(|| self.inner.call(request)));
        let metrics = self.layer.metrics.clone();
        Box::pin(async move {
            let outcome = match called {
                Ok(future) => AssertUnwindSafe(future).catch_unwind().await,
                Err(panic) => Err(panic),
            };
            let mut response = match outcome {
                Ok(Ok(response)) => response,
                Err(panic) => sorry(&*panic, &id, &metrics),
            };
            response.headers_mut().insert(X_REQUEST_ID, id);
            Ok(response)
        })
    }
}

fn sorry(panic: &(dyn Any + Send), id: &HeaderValue, metrics: &Metrics) -> Response<Body> {
    metrics.panicked();
    let said =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let id = id.to_str().unwrap_or_default();
    tracing::error!(request.id = id, panic = said, "a request's handler panicked");
    let body = ErrorBody {
        error: "The router failed. Its log tells more.".to_owned(),
        code: "internal".to_owned(),
        request_id: Some(id.to_owned()),
    };
    let mut response = Response::new(serde_json::to_string(&body).unwrap_or_default().into());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::UNIX_EPOCH};

    use tower::{ServiceExt as _, service_fn, util::ServiceFn};

    use super::*;

    /// What is asked through a shield, and what was counted there.
    struct Shielded<H> {
        service: Shield<ServiceFn<H>>,
        metrics: Arc<Metrics>,
    }

    impl<H, F> Shielded<H>
    where
        H: Fn(Request<Body>) -> F + Clone,
        F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
    {
        fn new(inner: H) -> Self {
            let metrics = Arc::new(Metrics::new(UNIX_EPOCH));
            Self { service: ShieldLayer::new(metrics.clone()).layer(service_fn(inner)), metrics }
        }

        async fn ask(&self) -> Response<Body> {
            let Ok(response) = self.service.clone().oneshot(Request::new(Body::empty())).await;
            response
        }
    }

    #[tokio::test]
    async fn a_panic_is_answered_and_counted_and_the_next_request_is_served() {
        fn at_once(_: Request<Body>) -> std::future::Ready<Result<Response<Body>, Infallible>> {
            panic!("at once")
        }
        async fn later(_: Request<Body>) -> Result<Response<Body>, Infallible> {
            panic!("later")
        }
        let (at_once, later) = (Shielded::new(at_once), Shielded::new(later));
        for _ in 0..2 {
            for response in [at_once.ask().await, later.ask().await] {
                assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
                assert!(response.headers().contains_key(X_REQUEST_ID));
            }
        }
        for metrics in [at_once.metrics, later.metrics] {
            let text = metrics.render([], true, 0).expect("text");
            assert!(text.contains("opencode_router_panics_total 2"), "{text}");
        }
    }

    #[tokio::test]
    async fn every_request_has_an_id_of_its_own_whatever_the_client_says() {
        async fn tell(request: Request<Body>) -> Result<Response<Body>, Infallible> {
            let id = request.extensions().get::<RequestId>().expect("an id").as_str().to_owned();
            assert_eq!(request.headers()[X_REQUEST_ID], id.as_str());
            Ok(Response::new(id.into()))
        }
        let shielded = Shielded::new(tell);
        let mut seen = HashSet::new();
        for _ in 0..3 {
            seen.insert(shielded.ask().await.headers()[X_REQUEST_ID].clone());
        }
        assert_eq!(seen.len(), 3);
    }
}

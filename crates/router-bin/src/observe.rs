//! What is known of each request afterwards: counters, a span around what is logged on its way, a line at `debug`.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use proxy_core::{Body, BodyError};
use session_key::{SessionRoute, Target};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::{Layer, Service};
use tracing::Instrument as _;

use crate::{
    metrics::{InFlight, Kind, Metrics},
    shield::RequestId,
};

/// Makes [`Observe`] services.
#[derive(Debug, Clone)]
pub(crate) struct ObserveLayer {
    metrics: Arc<Metrics>,
    ending: CancellationToken,
    debug_headers: bool,
}

impl ObserveLayer {
    /// Counts into `metrics`; event streams end when `ending` is cancelled; `debug_headers` logs the names of each
    /// request's headers.
    #[must_use]
    pub(crate) fn new(metrics: Arc<Metrics>, ending: CancellationToken, debug_headers: bool) -> Self {
        Self { metrics, ending, debug_headers }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { layer: self.clone(), inner }
    }
}

/// Counts requests, by what they are for and how they were answered.
///
/// When the router ends, so do event streams: they would go on for as long as a tab is open, and open anew
/// by themselves. Other answers are sent to their end.
#[derive(Debug, Clone)]
pub(crate) struct Observe<S> {
    layer: ObserveLayer,
    inner: S,
}

impl<S> Service<Request<Body>> for Observe<S>
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

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let route = request.extensions().get::<SessionRoute>();
        let kind = kind(route, request.uri().path());
        let span = tracing::debug_span!(
            "request",
            request.id = request.extensions().get::<RequestId>().map(RequestId::as_str),
            session.hash = route.map(|route| tracing::field::display(route.hash)),
        );
        if self.layer.debug_headers {
            let names = names(request.headers());
            span.in_scope(|| tracing::info!(route = kind.as_str(), headers = names, "a request's headers"));
        }
        let ObserveLayer { metrics, ending, .. } = self.layer.clone();
        let in_flight = metrics.begin(kind);
        let method = request.method().clone();
        let begun = Instant::now();
        let answering = self.inner.call(request);
        let observed = async move {
            let Ok(response) = answering.await;
            metrics.answered(kind, response.status());
            tracing::debug!(route = kind.as_str(), %method, status = response.status().as_u16(), after = ?begun.elapsed(), "a request was answered");
            Ok(hold(response, in_flight, ending))
        };
        Box::pin(observed.instrument(span))
    }
}

fn kind(route: Option<&SessionRoute>, path: &str) -> Kind {
    match route.map(|route| route.target) {
        Some(Target::Opencode) => Kind::Session,
        Some(Target::Port(_)) => Kind::Port,
        Some(Target::Attach) => Kind::Attach,
        None if path == "/api" || path.starts_with("/api/") => Kind::Api,
        None => Kind::Site,
    }
}

/// The names of a request's headers, never their values.
fn names(headers: &HeaderMap) -> String {
    let names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    names.join(" ")
}

/// A response is over when its body is. What comes whole with its head is over with its head, and is not wrapped.
fn hold(response: Response<Body>, in_flight: InFlight, ending: CancellationToken) -> Response<Body> {
    const SMALL: u64 = 64 * 1024;
    if response.body().size_hint().upper().is_some_and(|bytes| bytes <= SMALL) {
        return response;
    }
    let kind = response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let events = kind.starts_with(b"text/event-stream");
    let end = events.then(|| Box::pin(ending.cancelled_owned()));
    response.map(|body| Body::new(Held { body, end, _in_flight: in_flight }))
}

struct Held {
    body: Body,
    /// The stream ends with it.
    end: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _in_flight: InFlight,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.end.as_mut().is_some_and(|end| end.as_mut().poll(context).is_ready()) {
            self.end = None;
            self.body = Body::empty();
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

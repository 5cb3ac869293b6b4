//! Observes each request: metrics, a tracing span, a log line at `debug`, and an OpenTelemetry span.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use api::server::ErrorCode;
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
    metrics::{InFlight, Metrics, RouteKind},
    request_id,
    telemetry::RequestTracer,
};

/// The code of the API's refusals because of a limit per user.
const LIMIT_REACHED: &str = "limit_reached";

/// Makes [`Observe`] services.
#[derive(Debug, Clone)]
pub(crate) struct ObserveLayer {
    metrics: Arc<Metrics>,
    traces: Option<RequestTracer>,
    shutdown: CancellationToken,
    debug_headers: bool,
}

impl ObserveLayer {
    /// Returns a layer that counts in `metrics`, makes spans with `traces`, and ends event streams when
    /// `shutdown` is cancelled. With `debug_headers`, it logs the names of each request's headers.
    #[must_use]
    pub(crate) fn new(
        metrics: Arc<Metrics>,
        traces: Option<RequestTracer>,
        shutdown: CancellationToken,
        debug_headers: bool,
    ) -> Self {
        Self { metrics, traces, shutdown, debug_headers }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { layer: self.clone(), inner }
    }
}

/// Counts and logs requests, by route and status.
///
/// Event streams end at shutdown: they would otherwise last as long as a tab is open, and browsers reconnect
/// them. Those of a session are broken off, because opencode's page remembers its last event only then. Other
/// responses are sent completely.
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

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let route = request.extensions().get::<SessionRoute>();
        let kind = route_kind(route, request.uri().path());
        let is_session = route.is_some();
        let span = tracing::debug_span!(
            "request",
            request.id = request_id::of(request.extensions()),
            session.hash = route.map(|route| tracing::field::display(route.hash)),
        );
        if self.layer.debug_headers {
            let names = header_names(request.headers());
            span.in_scope(|| tracing::info!(route = kind.as_str(), headers = names, "request headers"));
        }
        let trace = self.layer.traces.as_ref().map(|traces| traces.start(&mut request, kind));
        let (metrics, shutdown) = (self.layer.metrics.clone(), self.layer.shutdown.clone());
        let in_flight = metrics.start_request(kind);
        let method = request.method().clone();
        let started = Instant::now();
        let future = self.inner.call(request);
        let observed = async move {
            let Ok(response) = future.await;
            metrics.record_response(kind, response.status());
            if response.extensions().get() == Some(&ErrorCode(LIMIT_REACHED)) {
                metrics.record_limit_refusal();
            }
            let status = response.status().as_u16();
            let (route, latency) = (kind.as_str(), started.elapsed());
            tracing::debug!(route, %method, status, ?latency, "request answered");
            if let Some(trace) = trace {
                trace.end(&response);
            }
            Ok(track_body(response, in_flight, shutdown, is_session))
        };
        Box::pin(observed.instrument(span))
    }
}

fn route_kind(route: Option<&SessionRoute>, path: &str) -> RouteKind {
    match route.map(|route| route.target) {
        Some(Target::Opencode) => RouteKind::Session,
        Some(Target::Port(_)) => RouteKind::Port,
        Some(Target::Attach) => RouteKind::Attach,
        None if path == "/api" || path.starts_with("/api/") => RouteKind::Api,
        None => RouteKind::Site,
    }
}

/// Returns the names of a request's headers, without their values.
fn header_names(headers: &HeaderMap) -> String {
    let names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    names.join(" ")
}

/// Keeps a request in flight until its response's body ends. Small bodies are sent with the head and are not
/// wrapped.
fn track_body(
    response: Response<Body>,
    in_flight: InFlight,
    shutdown: CancellationToken,
    is_session: bool,
) -> Response<Body> {
    const SMALL: u64 = 64 * 1024;
    if response.body().size_hint().upper().is_some_and(|bytes| bytes <= SMALL) {
        return response;
    }
    let content_type = response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let is_event_stream = content_type.starts_with(b"text/event-stream");
    let end = is_event_stream.then(|| Box::pin(shutdown.cancelled_owned()));
    response.map(|body| Body::new(TrackedBody { body, end, is_session, _in_flight: in_flight }))
}

/// A response's body that keeps its request in flight.
struct TrackedBody {
    body: Body,
    /// When it resolves, the body ends.
    end: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// Whether that end is an error.
    is_session: bool,
    _in_flight: InFlight,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.end.as_mut().is_some_and(|end| end.as_mut().poll(context).is_ready()) {
            self.end = None;
            self.body = Body::empty();
            if self.is_session {
                return Poll::Ready(Some(Err("the router shuts down".into())));
            }
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

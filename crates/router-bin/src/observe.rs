//! Observes each request: metrics, a tracing span, a log line at `debug`, and an OpenTelemetry span.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use api::server::ErrorCode;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use proxy_core::{Body, BodyError};
use session_key::{SessionRoute, Target};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service};
use tracing::{Instrument as _, Level, instrument::Instrumented};

use crate::{
    ending_events::EndingEvents,
    metrics::{InFlight, Metrics, RequestCounts, RouteKind},
    request_id,
    telemetry::{RequestSpan, RequestTracer},
};

/// The code of the API's refusals because of a limit per user.
const LIMIT_REACHED: &str = "limit_reached";

/// Makes [`Observe`] services.
#[derive(Debug, Clone)]
pub(crate) struct ObserveLayer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    counts: Arc<RequestCounts>,
    metrics: Arc<Metrics>,
    traces: Option<RequestTracer>,
    shutdown: CancellationToken,
    debug_headers: bool,
}

impl ObserveLayer {
    /// Returns a layer that counts in `counts`, and rare events in `metrics`, makes spans with `traces`, and
    /// ends event streams when `shutdown` is cancelled. With `debug_headers`, it logs the names of each
    /// request's headers.
    #[must_use]
    pub(crate) fn new(
        counts: Arc<RequestCounts>,
        metrics: Arc<Metrics>,
        traces: Option<RequestTracer>,
        shutdown: CancellationToken,
        debug_headers: bool,
    ) -> Self {
        Self(Arc::new(Shared { counts, metrics, traces, shutdown, debug_headers }))
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { shared: self.0.clone(), inner }
    }
}

/// Counts and logs requests, by route and status.
///
/// Event streams end at shutdown (`EndingEvents`). Other responses are sent completely.
#[derive(Debug, Clone)]
pub(crate) struct Observe<S> {
    shared: Arc<Shared>,
    inner: S,
}

impl<S> Service<Request<Body>> for Observe<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Observed<S::Future>;

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
        if self.shared.debug_headers {
            let names = header_names(request.headers());
            span.in_scope(|| tracing::info!(route = kind.as_str(), headers = names, "request headers"));
        }
        let trace = self.shared.traces.as_ref().map(|traces| Box::new(traces.start(&mut request, kind)));
        let observation = Observation {
            in_flight: self.shared.counts.start(kind),
            shared: self.shared.clone(),
            is_session,
            logged: tracing::enabled!(Level::DEBUG).then(|| (Instant::now(), request.method().clone())),
            trace,
        };
        Observed { inner: self.inner.call(request).instrument(span), observation: Some(observation) }
    }
}

/// What is observed of a request. Nothing of it is allocated unless requests are traced.
struct Observation {
    in_flight: InFlight,
    shared: Arc<Shared>,
    is_session: bool,
    /// When the request arrived, and its method, if its answer is logged.
    logged: Option<(Instant, Method)>,
    trace: Option<Box<RequestSpan>>,
}

impl Observation {
    fn end(self, response: Response<Body>) -> Response<Body> {
        let InFlight { counts, kind } = &self.in_flight;
        counts.record_response(*kind, response.status());
        if response.extensions().get() == Some(&ErrorCode(LIMIT_REACHED)) {
            self.shared.metrics.record_limit_refusal();
        }
        if let Some((started, method)) = self.logged {
            let (route, status, latency) = (kind.as_str(), response.status().as_u16(), started.elapsed());
            tracing::debug!(route, %method, status, ?latency, "request answered");
        }
        if let Some(trace) = self.trace {
            trace.end(&response);
        }
        track_body(response, self.in_flight, &self.shared.shutdown, self.is_session)
    }
}

pin_project! {
    /// The future of [`Observe`].
    pub(crate) struct Observed<F> {
        #[pin]
        inner: Instrumented<F>,
        observation: Option<Observation>,
    }
}

impl<F> Future for Observed<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // A panic drops what is in this function, so a request's span knows of it.
        let trace = this.observation.as_mut().and_then(|observation| observation.trace.take());
        let poll = this.inner.as_mut().poll(context);
        if let Some(observation) = this.observation {
            observation.trace = trace;
        }
        let Ok(response) = ready!(poll);
        Poll::Ready(Ok(match this.observation.take() {
            Some(observation) => this.inner.span().in_scope(|| observation.end(response)),
            None => response,
        }))
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
    shutdown: &CancellationToken,
    is_session: bool,
) -> Response<Body> {
    const SMALL: u64 = 64 * 1024;
    if response.body().size_hint().upper().is_some_and(|bytes| bytes <= SMALL) {
        return response;
    }
    let content_type = response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let is_event_stream = content_type.starts_with(b"text/event-stream");
    let (parts, mut body) = response.into_parts();
    if is_event_stream {
        body = Body::new(EndingEvents::new(body, &parts.headers, shutdown.clone(), is_session));
    }
    Response::from_parts(parts, Body::new(TrackedBody { body, _in_flight: in_flight }))
}

/// A response's body that keeps its request in flight.
struct TrackedBody {
    body: Body,
    _in_flight: InFlight,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

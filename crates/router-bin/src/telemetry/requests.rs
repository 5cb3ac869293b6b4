//! The span of a request.

use std::sync::Arc;

use api::server::{AuditRecord, ErrorCode};
use http::{HeaderMap, HeaderName, Method, Request, Response};
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{Span as _, SpanKind, Status, Tracer as _},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{SdkTracer, Span},
};
use proxy_core::{Body, TrustedHeaders};
use session_key::SessionRoute;

use crate::{metrics::RouteKind, request_id};

/// The headers that carry a trace's context (W3C Trace Context and Baggage).
static CONTEXT_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
];

/// Makes the spans of requests.
#[derive(Debug, Clone)]
pub(crate) struct RequestTracer {
    tracer: SdkTracer,
    templates: Arc<[String]>,
    /// Whose traces are continued; `None` continues none and touches no header.
    continues: Option<Arc<Continues>>,
}

/// Which traces are continued.
#[derive(Debug)]
struct Continues {
    trusted: Option<TrustedHeaders>,
    propagator: TraceContextPropagator,
}

impl RequestTracer {
    pub(super) fn new(
        tracer: SdkTracer,
        templates: impl IntoIterator<Item = String>,
        trusted: Option<TrustedHeaders>,
        continue_traces: bool,
    ) -> Self {
        let continues = continue_traces
            .then(|| Arc::new(Continues { trusted, propagator: TraceContextPropagator::new() }));
        Self { tracer, templates: templates.into_iter().collect(), continues }
    }

    /// Starts the span of a request, and removes a trace context that the proxy sent: it is not for the
    /// session.
    pub(crate) fn start(&self, request: &mut Request<Body>, kind: RouteKind) -> RequestSpan {
        let parent = self.parent(request);
        let method = known_method(request.method());
        let template = (kind == RouteKind::Api).then(|| self.template(request.uri().path())).flatten();
        let name = format!("{method} {}", template.unwrap_or(kind.as_str()));
        let mut attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("opencode_router.route", kind.as_str()),
            KeyValue::new("request.id", request_id::of(request.extensions()).to_owned()),
        ];
        attributes.extend(template.map(|template| KeyValue::new("http.route", template.to_owned())));
        let hash = request.extensions().get::<SessionRoute>().map(|route| route.hash);
        attributes.extend(hash.map(|hash| KeyValue::new("session.hash", hash.to_string())));
        let builder = self.tracer.span_builder(name).with_kind(SpanKind::Server).with_attributes(attributes);
        RequestSpan { span: builder.start_with_context(&self.tracer, &parent) }
    }

    /// Returns the context that the request continues, and removes it from the request.
    fn parent(&self, request: &mut Request<Body>) -> Context {
        let Some(continues) = &self.continues else { return Context::new() };
        let is_trusted = continues
            .trusted
            .as_ref()
            .is_some_and(|trusted| trusted.trusts(request.headers(), request.extensions()));
        let context = if is_trusted {
            continues.propagator.extract_with_context(&Context::new(), &TraceParent(request.headers()))
        } else {
            Context::new()
        };
        for name in &CONTEXT_HEADERS {
            request.headers_mut().remove(name);
        }
        context
    }

    /// Returns the API's template that a path matches. A path itself is never in a span: it is what somebody
    /// typed.
    fn template(&self, path: &str) -> Option<&str> {
        let matches = |template: &&String| {
            let (mut ours, mut theirs) = (template.split('/'), path.split('/'));
            loop {
                match (ours.next(), theirs.next()) {
                    (None, None) => return true,
                    (Some(part), Some(text)) if part == text || part.starts_with('{') => {}
                    _ => return false,
                }
            }
        };
        // `/stream` and `/{hash}` both match `/stream`; the former is meant.
        self.templates
            .iter()
            .filter(matches)
            .min_by_key(|template| template.matches('{').count())
            .map(String::as_str)
    }
}

/// The span of a request that is being answered. It ends when the head of the response is there, or when it
/// is dropped: then the client went away or the handler panicked, and the span has no status code.
#[derive(Debug)]
pub(crate) struct RequestSpan {
    span: Span,
}

impl RequestSpan {
    /// Ends the span of an answered request.
    pub(crate) fn end(mut self, response: &Response<Body>) {
        let status = response.status();
        self.span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if let Some(hash) = response.extensions().get::<AuditRecord>().and_then(|record| record.hash) {
            self.span.set_attribute(KeyValue::new("session.hash", hash.to_string()));
        }
        if let Some(code) = response.extensions().get::<ErrorCode>() {
            self.span.set_attribute(KeyValue::new("opencode_router.error_code", code.0));
        }
        if status.is_server_error() {
            self.span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
            self.span.set_status(Status::error(""));
        }
        self.span.end();
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.span.set_attribute(KeyValue::new("error.type", "panic"));
            self.span.set_status(Status::error(""));
        }
    }
}

/// Returns a method's name. Unknown ones are text of the client's choice, so they are not shown.
fn known_method(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    KNOWN.into_iter().find(|known| method == known).unwrap_or("_OTHER")
}

/// A request's `traceparent`. The other headers may contain text of anybody's choice, and are not read.
struct TraceParent<'a>(&'a HeaderMap);

impl Extractor for TraceParent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.keys().contains(&key).then(|| self.0.get(key)?.to_str().ok()).flatten()
    }

    fn keys(&self) -> Vec<&str> {
        vec![CONTEXT_HEADERS[0].as_str()]
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        time::Duration,
    };

    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::{
        error::OTelSdkResult,
        trace::{SdkTracerProvider, SpanData, SpanProcessor},
    };
    use parking_lot::Mutex;

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Ended(Arc<Mutex<Vec<SpanData>>>);

    impl SpanProcessor for Ended {
        fn on_start(&self, _: &mut Span, _: &Context) {}
        fn on_end(&self, span: SpanData) {
            self.0.lock().push(span);
        }
        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }
        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_an_error_and_a_client_that_went_away_is_none() {
        let ended = Ended::default();
        let provider = SdkTracerProvider::builder().with_span_processor(ended.clone()).build();
        let tracer = RequestTracer::new(provider.tracer("test"), Vec::new(), None, false);
        let start = || tracer.start(&mut Request::new(Body::empty()), RouteKind::Site);
        drop(start());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _span = start();
            panic!("a handler");
        }));
        assert!(panicked.is_err());
        let spans = ended.0.lock();
        assert_eq!([&spans[0].status, &spans[1].status], [&Status::Unset, &Status::error("")]);
        assert!(spans[1].attributes.contains(&KeyValue::new("error.type", "panic")));
    }

    #[test]
    fn a_path_is_shown_as_the_most_specific_template_that_it_matches() {
        let paths = ["/api/sessions/{hash}", "/api/sessions/stream", "/api/sessions/{hash}/stop"];
        let provider = SdkTracerProvider::builder().build();
        let tracer = RequestTracer::new(provider.tracer("test"), paths.map(str::to_owned), None, false);
        for (path, expected) in [
            ("/api/sessions/stream", Some("/api/sessions/stream")),
            ("/api/sessions/a48da0606867", Some("/api/sessions/{hash}")),
            ("/api/sessions/a48da0606867/stop", Some("/api/sessions/{hash}/stop")),
            ("/api/sessions/a48da0606867/other", None),
            ("/api/sessions", None),
            ("/api/sessions/a/stop/more", None),
        ] {
            assert_eq!(tracer.template(path), expected, "{path}");
        }
    }
}

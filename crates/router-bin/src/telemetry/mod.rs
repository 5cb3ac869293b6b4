//! OpenTelemetry traces: a span for each request, and for what happens to each session.
//!
//! Only what is written in this module is in a span: the router's log, its tracing spans and the headers of
//! requests are not (docs/adr/0010-traces-by-an-allow-list.md). Nothing of it exists unless
//! OTEL_EXPORTER_OTLP_ENDPOINT is set.
//!
//! - `requests`: the spans of requests
//! - `sessions`: the spans of session starts, stops and removals
//! - `export`: a bounded queue, and the task that empties it
//! - `collector`: OTLP over HTTP

mod collector;
mod export;
mod requests;
mod sessions;

use std::sync::Arc;

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracer, SdkTracerProvider},
};
use parking_lot::Mutex;
use proxy_core::TrustedHeaders;
use tokio_util::sync::CancellationToken;

pub(crate) use requests::{RequestSpan, RequestTracer};
pub(crate) use sessions::SessionTracer;

use crate::{config::TraceSettings, metrics::Metrics};
use collector::Collector;
use export::Exporter;

/// The name of the instrumentation scope of all spans.
const SCOPE: &str = "opencode-router";

/// Makes spans and sends them to a collector.
pub(crate) struct Telemetry {
    tracer: SdkTracer,
    continue_traces: bool,
    exporter: Mutex<Option<Exporter>>,
}

impl Telemetry {
    /// Prepares traces; nothing is sent before [`run`](Telemetry::run). `instance` distinguishes replicas.
    ///
    /// # Errors
    /// The system has no certificate authorities, and the endpoint needs them.
    pub(crate) fn new(
        settings: &TraceSettings,
        instance: Option<&str>,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let mut attributes = vec![
            KeyValue::new("service.name", settings.service_name.clone()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ];
        attributes.extend(instance.map(|instance| KeyValue::new("service.instance.id", instance.to_owned())));
        // Without detectors, which read the environment.
        let resource = Resource::builder_empty().with_attributes(attributes).build();
        let collector = Collector::new(settings)?;
        let (processor, exporter) = export::queue(collector, &resource, metrics);
        let ratio = Sampler::TraceIdRatioBased(settings.ratio);
        let sampler = if settings.parent_based { Sampler::ParentBased(Box::new(ratio)) } else { ratio };
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(sampler)
            .with_span_processor(processor)
            .build();
        Ok(Self {
            tracer: provider.tracer(SCOPE),
            continue_traces: settings.continue_traces,
            exporter: Mutex::new(Some(exporter)),
        })
    }

    /// Returns the tracer of requests. `templates` are the paths of the API; `trusted` says whose traces are
    /// continued.
    pub(crate) fn requests(
        &self,
        templates: impl IntoIterator<Item = String>,
        trusted: Option<TrustedHeaders>,
    ) -> RequestTracer {
        RequestTracer::new(self.tracer.clone(), templates, trusted, self.continue_traces)
    }

    /// Returns a tracer of what happens to sessions.
    pub(crate) fn sessions(&self) -> SessionTracer {
        SessionTracer::new(self.tracer.clone())
    }

    /// Sends spans until `stop` is cancelled, and then those that are left, for a short time. When `shutdown`
    /// is cancelled, it sends what it has at once. May be called once.
    pub(crate) async fn run(&self, shutdown: &CancellationToken, stop: &CancellationToken) {
        let exporter = self.exporter.lock().take();
        if let Some(exporter) = exporter {
            exporter.run(shutdown, stop).await;
        }
    }
}

//! A bounded queue of finished spans, and the task that sends them in batches.
//!
//! OpenTelemetry's own batch processor is not used: it needs a thread that blocks, and does not say how many
//! spans it dropped.

use std::{convert::Infallible, fmt, future::pending, sync::Arc, time::Duration};

use bytes::Bytes;
use opentelemetry::Context;
use opentelemetry_proto::{
    tonic::collector::trace::v1::ExportTraceServiceRequest,
    transform::{
        common::tonic::ResourceAttributesWithSchema, trace::tonic::group_spans_by_resource_and_scope,
    },
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};
use prost::Message as _;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::collector::{Collector, SendError};
use crate::metrics::{Metrics, SpanOutcome};

/// The most spans that wait. A full queue drops new ones: memory is bounded, and no request waits.
pub(super) const QUEUE: usize = 2048;
/// The most spans in one request to the collector.
pub(super) const BATCH: usize = 512;
/// How long a span waits for others.
const INTERVAL: Duration = Duration::from_secs(5);
/// The longest pause after failures.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// How long the spans that are left at the end may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns the two ends of a queue.
pub(super) fn queue(collector: Collector, resource: &Resource, metrics: Arc<Metrics>) -> (Queue, Exporter) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let exporter = Exporter {
        collector,
        resource: resource.into(),
        receiver,
        metrics: metrics.clone(),
        spans: Vec::new(),
        batch: None,
        failing: false,
    };
    (Queue { sender, metrics }, exporter)
}

/// Takes finished spans and never waits.
pub(super) struct Queue {
    sender: mpsc::Sender<SpanData>,
    metrics: Arc<Metrics>,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.sender.try_send(span).is_err() {
            self.metrics.record_spans(SpanOutcome::Dropped, 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Queue(…)")
    }
}

/// Sends the spans of a queue.
pub(super) struct Exporter {
    collector: Collector,
    resource: ResourceAttributesWithSchema,
    receiver: mpsc::Receiver<SpanData>,
    metrics: Arc<Metrics>,
    /// Spans of the next batch.
    spans: Vec<SpanData>,
    /// The batch that is being sent.
    batch: Option<Batch>,
    /// A failure is logged once, until an export succeeds.
    failing: bool,
}

/// Encoded spans on their way to the collector.
#[derive(Clone)]
struct Batch {
    body: Bytes,
    spans: usize,
}

impl Exporter {
    /// Sends until `stop` is cancelled, and then what is left.
    pub(super) async fn run(mut self, shutdown: &CancellationToken, stop: &CancellationToken) {
        let _cancelled = stop.run_until_cancelled(self.send_all(shutdown)).await;
        // A collector that does not answer must not delay the end of the router.
        let _timed_out = timeout(FLUSH_TIMEOUT, self.flush()).await;
    }

    async fn send_all(&mut self, shutdown: &CancellationToken) -> Infallible {
        loop {
            self.collect(shutdown).await;
            let batch = self.next_batch();
            self.batch = Some(batch.clone());
            let mut pause = INTERVAL;
            // While the collector is unavailable, the batch is kept and the queue fills.
            while !self.send(&batch).await {
                sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
            self.batch = None;
        }
    }

    /// Waits for spans: until there are enough for a batch, the interval is over, or the router shuts down.
    async fn collect(&mut self, shutdown: &CancellationToken) {
        let (spans, receiver) = (&mut self.spans, &mut self.receiver);
        while spans.is_empty() {
            let full = async {
                while spans.len() < BATCH {
                    if receiver.recv_many(spans, BATCH - spans.len()).await == 0 {
                        // Nobody can send any more.
                        pending::<()>().await;
                    }
                }
            };
            let already_shut_down = shutdown.is_cancelled();
            tokio::select! {
                biased;
                () = full => {}
                () = sleep(INTERVAL) => {}
                () = shutdown.cancelled(), if !already_shut_down => {}
            }
        }
    }

    /// Sends what is left, each batch once.
    async fn flush(&mut self) {
        let mut next = self.batch.take();
        loop {
            let batch = next.take().unwrap_or_else(|| {
                while self.spans.len() < BATCH
                    && let Ok(span) = self.receiver.try_recv()
                {
                    self.spans.push(span);
                }
                self.next_batch()
            });
            if batch.spans == 0 {
                return;
            }
            if !self.send(&batch).await {
                self.metrics.record_spans(SpanOutcome::Failed, batch.spans);
            }
        }
    }

    fn next_batch(&mut self) -> Batch {
        let spans = std::mem::take(&mut self.spans);
        let count = spans.len();
        let resource_spans = group_spans_by_resource_and_scope(spans, &self.resource);
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec().into();
        Batch { body, spans: count }
    }

    /// Sends a batch and returns whether it is done with: accepted, or refused for good.
    async fn send(&mut self, batch: &Batch) -> bool {
        match self.collector.send(batch.body.clone()).await {
            Ok(()) => {
                self.metrics.record_spans(SpanOutcome::Exported, batch.spans);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("trace export works again");
                }
                true
            }
            Err(SendError::Refused(status)) => {
                self.metrics.record_spans(SpanOutcome::Failed, batch.spans);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%status, "trace export refused by the collector; dropping the spans");
                }
                true
            }
            Err(SendError::Unavailable(error)) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(error, "trace export failed; retrying");
                }
                false
            }
        }
    }
}

//! The metrics, as OpenMetrics text.
//!
//! What each request counts is in `requests`, which cores do not contend for.

mod followers;
mod held_request;
mod labels;
mod process;
mod register;
mod requests;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use pod_manager::{Following, Stage};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

use self::{
    followers::FollowerMetrics,
    labels::{Outcome, StageLabel, Status},
    process::ProcessMetrics,
    register::register,
    requests::RequestMetrics,
};

pub(crate) use self::labels::stage_name;
pub use self::{
    held_request::HeldRequest,
    labels::{AttachOutcome, HeldOutcome, RouteKind, SpanOutcome},
    requests::{InFlight, RequestCounts},
};

/// The router's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: RequestMetrics,
    limit_refusals: Counter,
    sessions: Family<Status, Gauge>,
    starts: Family<Outcome, Counter>,
    stages: Family<StageLabel, Histogram>,
    wakes: Family<Outcome, Counter>,
    held: Gauge,
    held_ended: [Counter; HeldOutcome::ALL.len()],
    stream_reconnects: Counter,
    stream_states: Counter,
    leader: Gauge,
    conflicts: Counter,
    attaches: [Counter; AttachOutcome::ALL.len()],
    spans: [Counter; SpanOutcome::ALL.len()],
    followers: FollowerMetrics,
    process: ProcessMetrics,
}

impl Metrics {
    /// Returns metrics that are all zero. The process counts as started `now`.
    #[must_use]
    pub fn new(now: SystemTime) -> Self {
        let mut root = Registry::default();
        let registry = root.sub_registry_with_prefix("opencode_router");
        let requests = RequestMetrics::register(registry);
        let limit_refusals =
            register(registry, "limit_refusals", "Requests refused because their user has reached a limit");
        let sessions = register(registry, "sessions", "Sessions of all users, by status");
        let starts = register(registry, "session_starts", "Session starts that finished, by outcome");
        let stages = Family::<StageLabel, Histogram>::new_with_constructor(|| {
            Histogram::new([0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0])
        });
        registry.register("start_stage_seconds", "Duration of each stage of a session start", stages.clone());
        let wakes: Family<Outcome, Counter> =
            register(registry, "wakes", "Starts that requests to stopped sessions caused, by outcome");
        let held = register(registry, "requests_held", "Requests that wait until their session runs");
        let held_ended: Family<Outcome, Counter> = register(
            registry,
            "held_requests",
            "Requests that waited until their session ran, by what became of them",
        );
        let leader = register(registry, "reaps", "1 if this router is the leader, which stops idle sessions");
        let conflicts = register(
            registry,
            "session_conflicts",
            "Sessions that were reported under another owner than before; they are served to nobody",
        );
        let attaches: Family<Outcome, Counter> =
            register(registry, "attach_requests", "Requests to attach hosts, by what became of their token");
        let stream_reconnects = register(
            registry,
            "event_stream_reconnects",
            "Event streams of sessions that clients opened again, with the id of their last event",
        );
        let stream_states = register(
            registry,
            "event_stream_states",
            "Clients that were sent the state, because the events that they missed were not kept",
        );
        let followers = FollowerMetrics::register(registry);
        let spans: Family<Outcome, Counter> =
            register(registry, "trace_spans", "Spans that ended, by what became of them");
        registry.register(
            "build",
            "The router's version",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        let process = ProcessMetrics::register(&mut root, now);
        Self {
            requests,
            spans: SpanOutcome::ALL
                .map(|outcome| spans.get_or_create_owned(&Outcome { outcome: outcome.as_str() })),
            held_ended: HeldOutcome::ALL
                .map(|outcome| held_ended.get_or_create_owned(&Outcome { outcome: outcome.as_str() })),
            // Shown from the start, as a counter should be.
            wakes: {
                drop(wakes.get_or_create(&Outcome { outcome: "started" }));
                wakes
            },
            attaches: AttachOutcome::ALL
                .map(|outcome| attaches.get_or_create_owned(&Outcome { outcome: outcome.as_str() })),
            registry: root,
            limit_refusals,
            stream_reconnects,
            stream_states,
            sessions,
            starts,
            stages,
            held,
            leader,
            conflicts,
            followers,
            process,
        }
    }

    /// Returns counts of requests for one stack, which add to the metrics.
    pub fn request_counts(&self) -> Arc<RequestCounts> {
        self.requests.add_counts()
    }

    /// Counts a session start that finished.
    pub fn record_start(&self, outcome: &'static str) {
        self.starts.get_or_create(&Outcome { outcome }).inc();
    }

    /// Adds the duration of a start's stage to the histogram.
    pub fn observe_stage(&self, stage: Stage, duration: Duration) {
        self.stages.get_or_create(&StageLabel { stage: stage_name(stage) }).observe(duration.as_secs_f64());
    }

    /// Counts a request that was refused because of a limit per user.
    pub fn record_limit_refusal(&self) {
        self.limit_refusals.inc();
    }

    /// Counts an event stream that a client opened again.
    pub fn record_stream_reconnect(&self) {
        self.stream_reconnects.inc();
    }

    /// Counts a client that was sent the state in place of the events that it missed.
    pub fn record_stream_state(&self) {
        self.stream_states.inc();
    }

    /// Counts a start that a request caused: `started`, or the code of its refusal.
    pub fn record_wake(&self, outcome: &'static str) {
        self.wakes.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts a request as held until the returned guard is dropped or ended.
    pub fn hold_request(&self) -> HeldRequest {
        HeldRequest::start(self.held.clone(), self.held_ended.clone())
    }

    /// Counts a request to an attach host.
    pub fn record_attach(&self, outcome: AttachOutcome) {
        self.attaches[outcome as usize].inc();
    }

    /// Counts spans of traces.
    pub fn record_spans(&self, outcome: SpanOutcome, count: usize) {
        self.spans[outcome as usize].inc_by(count as u64);
    }

    /// Sets the metrics of the event streams that the router follows.
    pub fn set_following(&self, following: &Following) {
        self.followers.set(following);
    }

    /// Renders the metrics as OpenMetrics text. The manager knows the arguments: the number of sessions of
    /// each status, whether this router is the leader, and how many conflicts there were.
    ///
    /// # Errors
    /// None in practice: writing to a `String` does not fail.
    pub fn render(
        &self,
        sessions: impl IntoIterator<Item = (&'static str, usize)>,
        is_leader: bool,
        conflicts: u64,
    ) -> Result<String, fmt::Error> {
        for (status, count) in sessions {
            self.sessions.get_or_create(&Status { status }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.leader.set(i64::from(is_leader));
        self.conflicts.inc_by(conflicts.saturating_sub(self.conflicts.get()));
        self.requests.update();
        self.process.measure();
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

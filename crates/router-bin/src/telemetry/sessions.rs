//! The spans of what happens to sessions, made from the backend's events.

use std::{collections::HashMap, time::SystemTime};

use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, Status, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::trace::{SdkTracer, Span};
use pod_manager::{Phase, SessionStatus, WatchEvent, manager::Opening};
use session_key::SessionHash;

use crate::metrics::stage_name;

/// Makes a span for each start of a session, with its stages, and for each stop and removal.
#[derive(Debug)]
pub(crate) struct SessionTracer {
    tracer: SdkTracer,
    /// Sessions that are being started or stopped, and since when.
    changing: HashMap<SessionHash, (Change, SystemTime)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Start,
    Stop,
}

impl SessionTracer {
    pub(super) fn new(tracer: SdkTracer) -> Self {
        Self { tracer, changing: HashMap::new() }
    }

    /// Takes in an event. With `report`, changes that have ended become spans; `now` is when they ended.
    pub(crate) fn observe(&mut self, event: &WatchEvent, report: bool, now: SystemTime) {
        match event {
            // When the changes of others ended is unknown.
            WatchEvent::Snapshot(all) => {
                self.changing =
                    all.iter().filter_map(|status| Some((status.session.hash, change(status)?))).collect();
            }
            WatchEvent::Applied(status) => self.applied(status, report, now),
            WatchEvent::Removed(hash) => {
                let began = self.changing.remove(hash).map_or(now, |(_, began)| began);
                if report {
                    self.span("session delete", *hash, began, Vec::new()).end_with_timestamp(now);
                }
            }
        }
    }

    /// Makes a span of the time from opencode's first answer until the session was opened to its owner.
    pub(crate) fn opened(&self, opening: &Opening, now: SystemTime) {
        let began = now.checked_sub(opening.duration).unwrap_or(now);
        let attributes = vec![KeyValue::new("opencode_router.first_prompt", opening.sent_prompt)];
        self.span("session open", opening.hash, began, attributes).end_with_timestamp(now);
    }

    fn applied(&mut self, status: &SessionStatus, report: bool, now: SystemTime) {
        let hash = status.session.hash;
        let present = change(status);
        let previous = self.changing.get(&hash).copied();
        if previous.map(|(change, _)| change) == present.map(|(change, _)| change) {
            return;
        }
        match present {
            Some(present) => drop(self.changing.insert(hash, present)),
            None => drop(self.changing.remove(&hash)),
        }
        let Some((change, began)) = previous.filter(|_| report) else { return };
        match change {
            Change::Start => self.started(status, began, now),
            Change::Stop => {
                let reason = match &status.phase {
                    Phase::Stopped(reason) => vec![KeyValue::new("opencode_router.reason", reason.as_str())],
                    _ => Vec::new(),
                };
                self.span("session stop", hash, began, reason).end_with_timestamp(now);
            }
        }
    }

    /// Makes the span of a start that has ended, with a child for each stage.
    fn started(&self, status: &SessionStatus, began: SystemTime, now: SystemTime) {
        let outcome = match &status.phase {
            Phase::Running(_) => "running",
            // Only the code: messages and logs name repositories and users.
            Phase::Failed(failure) => failure.code.as_str(),
            _ => "stopped",
        };
        let hash = status.session.hash;
        let attributes = vec![KeyValue::new("opencode_router.outcome", outcome)];
        let mut span = self.span("session start", hash, began, attributes);
        if matches!(status.phase, Phase::Failed(_)) {
            span.set_status(Status::error(outcome));
        }
        let parent = Context::new().with_remote_span_context(span.span_context().clone());
        for stage in &status.stages {
            if let (Some(started), Some(ended)) = (stage.started, stage.ended) {
                let builder = self.tracer.span_builder(stage_name(stage.stage)).with_start_time(started);
                builder.start_with_context(&self.tracer, &parent).end_with_timestamp(ended.max(started));
            }
        }
        span.end_with_timestamp(now);
    }

    fn span(
        &self,
        name: &'static str,
        hash: SessionHash,
        began: SystemTime,
        mut attributes: Vec<KeyValue>,
    ) -> Span {
        attributes.push(KeyValue::new("session.hash", hash.to_string()));
        let builder = self.tracer.span_builder(name).with_start_time(began).with_attributes(attributes);
        builder.start_with_context(&self.tracer, &Context::new())
    }
}

fn change(status: &SessionStatus) -> Option<(Change, SystemTime)> {
    let change = match status.phase {
        Phase::Starting => Change::Start,
        Phase::Stopping => Change::Stop,
        Phase::Stopped(_) | Phase::Running(_) | Phase::Failed(_) => return None,
    };
    Some((change, status.since))
}

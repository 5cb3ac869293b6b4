//! Measures session starts.

use std::collections::HashSet;

use pod_manager::{Phase, SessionStatus, WatchEvent};
use session_key::SessionHash;

use crate::metrics::Metrics;

/// Counts the outcomes of session starts and the durations of their stages, from a backend's events.
#[derive(Debug, Default)]
pub struct StartTracker {
    starting: HashSet<SessionHash>,
}

impl StartTracker {
    /// Takes in an event. Without `metrics`, starts are tracked but not counted.
    pub fn observe(&mut self, event: &WatchEvent, metrics: Option<&Metrics>) {
        match event {
            // Starts that finished before the snapshot are not counted: when they finished is unknown.
            WatchEvent::Snapshot(all) => {
                self.starting = all
                    .iter()
                    .filter(|status| is_starting(status))
                    .map(|status| status.session.hash)
                    .collect();
            }
            WatchEvent::Applied(status) => self.applied(status, metrics),
            WatchEvent::Removed(hash) => {
                self.starting.remove(hash);
            }
        }
    }

    fn applied(&mut self, status: &SessionStatus, metrics: Option<&Metrics>) {
        let hash = status.session.hash;
        if is_starting(status) {
            self.starting.insert(hash);
            return;
        }
        if !self.starting.remove(&hash) {
            return;
        }
        let Some(metrics) = metrics else { return };
        let outcome = match &status.phase {
            Phase::Running(_) => "running",
            Phase::Failed(failure) => failure.code.as_str(),
            _ => "stopped",
        };
        metrics.record_start(outcome);
        for stage in &status.stages {
            let duration = stage.started.zip(stage.ended).and_then(|(from, to)| to.duration_since(from).ok());
            if let Some(duration) = duration {
                metrics.observe_stage(stage.stage, duration);
            }
        }
    }
}

fn is_starting(status: &SessionStatus) -> bool {
    matches!(status.phase, Phase::Starting)
}

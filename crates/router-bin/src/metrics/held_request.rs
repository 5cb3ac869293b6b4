//! Requests that wait until their session runs.

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

use super::labels::HeldOutcome;

/// A held request. If it is dropped without [`end`](Self::end), its client went away.
#[derive(Debug)]
pub struct HeldRequest {
    held: Gauge,
    ended: [Counter; HeldOutcome::ALL.len()],
    outcome: HeldOutcome,
}

impl HeldRequest {
    /// Counts a request as held.
    pub(super) fn start(held: Gauge, ended: [Counter; HeldOutcome::ALL.len()]) -> Self {
        held.inc();
        Self { held, ended, outcome: HeldOutcome::Cancelled }
    }

    /// Ends the request.
    pub fn end(mut self, outcome: HeldOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for HeldRequest {
    fn drop(&mut self) {
        self.held.dec();
        self.ended[self.outcome as usize].inc();
    }
}

//! What the operator knows about its own work: conditions for `/readyz` and the metrics.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use pod_manager::Clock;

/// The two halves of the work, which fail independently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Half {
    /// IngressRoutes.
    Kubernetes,
    /// DNS records and the tunnel's rules.
    Cloudflare,
}

impl Half {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Kubernetes, Self::Cloudflare];

    /// Returns the value of the label `half`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Cloudflare => "cloudflare",
        }
    }
}

/// How a half is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HalfStatus {
    /// The state of the last pass.
    pub state: PassState,
    /// What stays different because it belongs to somebody else: sentences.
    pub conflicts: Vec<String>,
    /// What others do already, or have to do: sentences.
    pub notes: Vec<String>,
    /// When a pass last succeeded.
    pub last_success: Option<SystemTime>,
    /// How long the operator pauses because of failures.
    pub backoff: Duration,
}

impl HalfStatus {
    /// Returns whether the last pass failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        matches!(self.state, PassState::Failed { .. })
    }
}

/// The outcome of a half's last pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PassState {
    /// There was no pass since this process leads, or it does not lead.
    #[default]
    Waiting,
    /// Everything is as desired, apart from conflicts.
    Succeeded,
    /// The pass failed and will be repeated.
    Failed {
        /// A stable word: `unauthorized`, `rate_limited`, `unreachable`, …
        reason: String,
        /// A sentence.
        message: String,
    },
}

/// The status of both halves.
pub struct Status {
    halves: Mutex<[HalfStatus; 2]>,
    skipped: Mutex<BTreeMap<String, String>>,
    clock: Arc<dyn Clock>,
}

impl Status {
    /// Creates a status before the first pass.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { halves: Mutex::default(), skipped: Mutex::default(), clock }
    }

    /// Returns the status of a half.
    #[must_use]
    pub fn of(&self, half: Half) -> HalfStatus {
        self.halves.lock()[half as usize].clone()
    }

    /// Returns the claims that publish nothing, and why.
    #[must_use]
    pub fn skipped(&self) -> BTreeMap<String, String> {
        self.skipped.lock().clone()
    }

    /// Records the outcome of a pass, and the pause after it.
    pub fn record(&self, half: Half, state: PassState, backoff: Duration) {
        let mut halves = self.halves.lock();
        let status = &mut halves[half as usize];
        match (&status.state, &state) {
            (PassState::Failed { .. }, PassState::Succeeded) => {
                tracing::info!(half = half.as_str(), "reconciled again");
            }
            (PassState::Failed { reason: old, .. }, PassState::Failed { reason, message })
                if old == reason =>
            {
                tracing::debug!(half = half.as_str(), reason, message, "reconcile failed; retrying");
            }
            (_, PassState::Failed { reason, message }) => {
                tracing::warn!(half = half.as_str(), reason, message, "reconcile failed; retrying");
            }
            _ => {}
        }
        if state == PassState::Succeeded {
            status.last_success = Some(self.clock.now());
        }
        (status.state, status.backoff) = (state, backoff);
    }

    /// Records what a half leaves to somebody else. New conflicts are logged.
    pub fn record_conflicts(&self, half: Half, conflicts: Vec<String>) {
        let status = &mut self.halves.lock()[half as usize];
        for conflict in conflicts.iter().filter(|conflict| !status.conflicts.contains(conflict)) {
            tracing::warn!(half = half.as_str(), conflict, "conflict");
        }
        status.conflicts = conflicts;
    }

    /// Records what others do already, or have to do. New notes are logged.
    pub fn record_notes(&self, half: Half, notes: Vec<String>) {
        let status = &mut self.halves.lock()[half as usize];
        for note in notes.iter().filter(|note| !status.notes.contains(note)) {
            tracing::info!(half = half.as_str(), note, "note");
        }
        status.notes = notes;
    }

    /// Records which claims publish nothing. New ones are logged.
    pub fn record_skipped(&self, skipped: &BTreeMap<String, String>) {
        let mut known = self.skipped.lock();
        for (claim, reason) in skipped.iter().filter(|(claim, _)| !known.contains_key(*claim)) {
            tracing::warn!(claim, reason, "claim skipped");
        }
        if *known != *skipped {
            known.clone_from(skipped);
        }
    }
}

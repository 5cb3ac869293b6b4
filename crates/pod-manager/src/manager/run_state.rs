//! What the manager knows of one run of a session, in addition to what the backend reports.

use std::time::SystemTime;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct RunState {
    /// When this manager saw the run first.
    pub(super) first_seen: SystemTime,
    /// When the session was opened to its owner; `None`: not yet.
    pub(super) opened_at: Option<SystemTime>,
    /// Whether an agent was at work at the last probe.
    pub(super) busy: bool,
    /// When an agent was last seen at work.
    pub(super) busy_at: Option<SystemTime>,
    /// Why the last probe failed; `None` if it succeeded.
    pub(super) probe_error: Option<String>,
    /// When the first prompt was delivered, if that was in this run.
    pub(super) prompted_at: Option<SystemTime>,
    pub(super) title: Option<String>,
    pub(super) landing_path: Option<String>,
}

impl RunState {
    pub(super) fn new(first_seen: SystemTime, opened_at: Option<SystemTime>) -> Self {
        Self {
            first_seen,
            opened_at,
            busy: false,
            busy_at: None,
            probe_error: None,
            prompted_at: None,
            title: None,
            landing_path: None,
        }
    }
}

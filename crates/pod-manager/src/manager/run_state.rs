//! What the manager knows of one run of a session, in addition to what the backend reports.

use std::time::{Duration, SystemTime};

use super::agents::Work;
use crate::{clock::elapsed, ports::SessionPorts};

/// How long a session counts as busy after a prompt was delivered: opencode's status shows it with a delay (2
/// s were seen after a cold start).
const BUSY_AFTER_PROMPT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq)]
pub(super) struct RunState {
    /// When this manager saw the run first.
    pub(super) first_seen: SystemTime,
    /// When the session was opened to its owner; `None`: not yet.
    pub(super) opened_at: Option<SystemTime>,
    /// Whether an agent is at work, as far as it is known.
    pub(super) busy: bool,
    /// Since when every agent at work waits for an answer of its user.
    pub(super) waiting_since: Option<SystemTime>,
    /// Whether an agent was at work when that was last seen.
    pub(super) work: Work,
    /// When an agent was last seen at work.
    pub(super) busy_at: Option<SystemTime>,
    /// Why the last probe failed; `None` if it succeeded.
    pub(super) probe_error: Option<String>,
    /// When the first prompt was delivered, if that was in this run.
    pub(super) prompted_at: Option<SystemTime>,
    pub(super) title: Option<String>,
    pub(super) landing_path: Option<String>,
    pub(super) ports: SessionPorts,
}

impl RunState {
    pub(super) fn new(first_seen: SystemTime, opened_at: Option<SystemTime>) -> Self {
        Self {
            first_seen,
            opened_at,
            busy: false,
            waiting_since: None,
            work: Work::None,
            busy_at: None,
            probe_error: None,
            prompted_at: None,
            title: None,
            landing_path: None,
            ports: SessionPorts::default(),
        }
    }

    /// Records whether an agent needs the session.
    pub(super) fn set_work(&mut self, work: Work, now: SystemTime) {
        let waited_since = self.waiting_since.take();
        if work == Work::Working || self.work == Work::Working {
            self.busy_at = Some(now);
        }
        self.work = work;
        self.busy = match work {
            Work::Working => true,
            Work::Waiting => {
                self.waiting_since = waited_since.or(Some(now));
                true
            }
            // opencode's status shows a prompt with a delay.
            Work::None => self.prompted_at.is_some_and(|at| elapsed(now, at) < BUSY_AFTER_PROMPT),
        };
    }
}

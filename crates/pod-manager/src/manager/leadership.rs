//! Whether this process is the one that acts on its own, and since when.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;

use crate::clock::elapsed;

/// Tells whether this process is the leader of all routers that share the sessions. Only the leader stops
/// idle sessions and sends first prompts; every replica does the rest.
pub trait Leadership: Send + Sync + 'static {
    /// Whether this process is the leader now. At most one process is.
    fn is_leader(&self) -> bool;
}

/// The leadership of a process that shares its sessions with no other.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlwaysLeader;

impl Leadership for AlwaysLeader {
    fn is_leader(&self) -> bool {
        true
    }
}

/// Remembers when this process was last seen not to be the leader.
pub(super) struct LeadershipHistory {
    leadership: Arc<dyn Leadership>,
    last_follower: Mutex<Option<SystemTime>>,
}

impl LeadershipHistory {
    pub(super) fn new(leadership: Arc<dyn Leadership>) -> Self {
        Self { leadership, last_follower: Mutex::default() }
    }

    pub(super) fn is_leader(&self) -> bool {
        self.leadership.is_leader()
    }

    /// Returns for how long this process has been the leader, as far as it was observed: `None` if it is not,
    /// [`Duration::MAX`] if it always was.
    pub(super) fn observe(&self, now: SystemTime) -> Option<Duration> {
        let mut last_follower = self.last_follower.lock();
        if !self.is_leader() {
            *last_follower = Some(now);
            return None;
        }
        Some(last_follower.map_or(Duration::MAX, |at| elapsed(now, at)))
    }
}

//! The place at which every raw event of a followed session passes.

use crate::opencode::RawEvent;

/// Receives the events of one session, in order, from whichever run. Called on the follower's task: it must
/// not block.
#[derive(Debug, Default)]
pub(super) struct EventTap;

impl EventTap {
    /// An event stream of this run was opened. Events before it were missed, or were sent to an earlier
    /// stream.
    pub(super) fn connected(&self, run_id: &str) {
        tracing::trace!(run_id, "event stream opened");
    }

    /// An event was received.
    pub(super) fn event(&self, event: &RawEvent) {
        tracing::trace!(id = event.id.as_deref(), kind = %event.kind, bytes = event.data.len(), "event");
    }

    /// An event was too large to be kept, and is lost.
    pub(super) fn lost(&self) {
        tracing::trace!("event lost");
    }

    /// The event stream is closed: events are missed from now on.
    pub(super) fn disconnected(&self) {
        tracing::trace!("event stream closed");
    }
}

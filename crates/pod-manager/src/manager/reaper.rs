//! When a session is idle, and how it is stopped then.

use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::{
    keeper::Keeper,
    view::{RunFacts, since},
};
use crate::{backend::BackendError, model::StopReason};

/// For how long this process has been the one that reaps, as far as it was seen.
#[derive(Debug, Default)]
pub(super) struct Alone {
    /// When it was seen last that it is another.
    other: Mutex<Option<SystemTime>>,
}

impl Alone {
    /// Takes in whether it is so now. Gives how long ago it was not; `None` where it always was.
    pub(super) fn look(&self, reaps: bool, now: SystemTime) -> Option<Duration> {
        let mut other = self.other.lock();
        if !reaps {
            *other = Some(now);
        }
        other.map(|at| since(now, at))
    }
}

/// Since when nobody needs a session: a person used it last, an agent was at work last, it came up, or this manager
/// began to look at it (what was before, it did not see); whatever was last.
fn unneeded_since(run: &RunFacts, running_since: SystemTime, last_activity: SystemTime) -> SystemTime {
    last_activity.max(running_since).max(run.first_seen).max(run.busy_at.unwrap_or(SystemTime::UNIX_EPOCH))
}

/// How long it is still kept, as things are; `None` where the run is over or not yet opened.
pub(super) fn idle_in(keeper: &Keeper) -> Option<Duration> {
    let (run, observed) = keeper.slot.run(&keeper.endpoint)?;
    run.opened?;
    let unneeded = unneeded_since(&run, observed.since, keeper.slot.last_activity());
    let manager = &keeper.manager;
    Some(manager.settings.idle_timeout.saturating_sub(since(manager.clock.now(), unneeded)))
}

pub(super) fn is_idle(keeper: &Keeper) -> bool {
    idle_in(keeper) == Some(Duration::ZERO)
}

/// Stops the session unless it turns out that somebody needs it: its opencode is asked once more, and no request
/// may have come since that was begun. From then on requests are refused, so that none is let in and cut off.
pub(super) async fn stop_if_idle(keeper: &Keeper) {
    let (manager, slot) = (&keeper.manager, &keeper.slot);
    // What others saw is written down within `write_activity`: who was not the one that reaps waits for that first.
    let reaps = manager.backend.reaps();
    let settled = |since| since >= 2 * manager.settings.write_activity;
    if !reaps || !manager.alone.look(reaps, manager.clock.now()).is_none_or(settled) {
        return;
    }
    // A verb under way decides by itself what becomes of the session.
    let Some(_turn) = manager.verbs.try_lock(slot.hash) else { return };
    let routed = slot.routed();
    if !matches!(keeper.ask_busy().await, Ok(false)) || !is_idle(keeper) {
        return;
    }
    if !slot.close_unless_routed(routed, manager.clock.now(), &manager.hub) {
        return;
    }
    tracing::info!(session.hash = %slot.hash, "the session is idle; it is stopped");
    manager.write_activity(slot, Duration::ZERO).await;
    if let Err(error) = manager.backend.stop(slot.hash, StopReason::Idle).await {
        if matches!(error, BackendError::InUse) {
            tracing::info!(session.hash = %slot.hash, "the session is used through another router; it is not stopped");
        } else {
            tracing::warn!(session.hash = %slot.hash, %error, "the idle session could not be stopped");
        }
        slot.reopen(manager.clock.now(), &manager.hub);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_needs_it_since_the_last_of_all_that_counts() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let run = |first_seen, busy_at: Option<u64>| RunFacts {
            first_seen: at(first_seen),
            opened: Some(at(0)),
            busy: false,
            unasked: None,
            busy_at: busy_at.map(at),
            prompted: None,
            title: None,
            entry: None,
        };
        assert_eq!(unneeded_since(&run(1, None), at(2), at(3)), at(3), "a person used it");
        assert_eq!(unneeded_since(&run(1, Some(2)), at(3), at(0)), at(3), "it came up");
        assert_eq!(unneeded_since(&run(3, Some(1)), at(2), at(0)), at(3), "this manager came");
        assert_eq!(unneeded_since(&run(1, Some(3)), at(2), at(0)), at(3), "an agent was at work");
    }
}

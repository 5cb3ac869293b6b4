//! When a session counts as idle. Pure: it decides, the monitor acts.

use std::time::{Duration, SystemTime};

use super::run_state::RunState;
use crate::clock::elapsed;

/// Returns since when nobody needs the session: the latest of the last user activity, the last agent
/// activity, the start of the run, and the moment when this manager first saw the run (it knows of no use
/// before that).
fn idle_since(run: &RunState, running_since: SystemTime, last_activity: SystemTime) -> SystemTime {
    last_activity.max(running_since).max(run.first_seen).max(run.busy_at.unwrap_or(SystemTime::UNIX_EPOCH))
}

/// How long an agent that waits for an answer of its user keeps a session from being idle. The question is
/// lost when opencode ends, so a question of the evening can be answered in the morning.
const WAITING_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns how long until the session is idle if nothing happens; zero if it is idle, `None` if it is not
/// open to its owner yet. A session in which an agent works is not idle.
pub(super) fn time_left(
    run: &RunState,
    running_since: SystemTime,
    last_activity: SystemTime,
    now: SystemTime,
    timeout: Duration,
) -> Option<Duration> {
    run.opened_at?;
    let left = timeout.saturating_sub(elapsed(now, idle_since(run, running_since, last_activity)));
    Some(match run.waiting_since {
        Some(since) => left.max(WAITING_LIMIT.saturating_sub(elapsed(now, since))),
        None if run.busy => timeout.max(Duration::from_secs(1)),
        None => left,
    })
}

/// Returns whether a process that has been the leader for `leading_for` may stop idle sessions. A new leader
/// first waits until the activity that other replicas saw must have been written.
pub(super) fn may_stop(leading_for: Option<Duration>, activity_write_interval: Duration) -> bool {
    leading_for.is_some_and(|duration| duration >= 2 * activity_write_interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::agents::Work;

    #[test]
    fn idle_time_begins_with_the_latest_use() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let check = |first_seen, busy_at: Option<u64>, running_since, last_activity, why| {
            let run = RunState { busy_at: busy_at.map(at), ..RunState::new(at(first_seen), Some(at(0))) };
            assert_eq!(idle_since(&run, at(running_since), at(last_activity)), at(3), "{why}");
        };
        check(1, None, 2, 3, "a person used it");
        check(1, Some(2), 3, 0, "it started");
        check(3, Some(1), 2, 0, "this manager started");
        check(1, Some(3), 2, 0, "an agent was at work");
    }

    #[test]
    fn an_agent_that_waits_for_its_user_keeps_the_session_for_a_day() {
        let hour = Duration::from_secs(60 * 60);
        let at = |hours| SystemTime::UNIX_EPOCH + hour * hours;
        let left = |work, now, timeout| {
            let mut run = RunState::new(at(1), Some(at(1)));
            run.set_work(work, at(2));
            time_left(&run, at(1), at(1), at(now), timeout).expect("an open session")
        };
        assert_eq!(left(Work::None, 2, hour), Duration::ZERO);
        assert_eq!(left(Work::Waiting, 2, hour), 24 * hour);
        assert_eq!(left(Work::Waiting, 25, hour), hour);
        assert_eq!(left(Work::Waiting, 26, hour), Duration::ZERO);
        assert_eq!(left(Work::Waiting, 26, 48 * hour), 23 * hour, "the timeout may be longer");
        assert_eq!(left(Work::Working, 100, hour), hour);
    }
}

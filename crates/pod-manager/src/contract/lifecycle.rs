//! Promises on start, stop and delete.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{
    harness::{Harness, unix_time},
    watch_probe::WatchProbe,
};
use crate::model::{Credentials, Phase, StopReason};

/// A start of a new session creates its storage and runs it once.
pub async fn a_start_creates_storage_and_runs_the_session(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_running(session.hash).await;
    let status = probe.status(session.hash).expect("it runs");
    assert_eq!(*status.session, session, "the session is recorded as it was asked for");
    assert!(!status.first_prompt_sent, "no prompt was sent");
    assert!(h.stored(session.hash).await, "it has storage");
    assert!(h.processes(session.hash).await.is_none_or(|count| count == 1), "it has one process");
    backend.shutdown().await;
}

/// A start of a running session succeeds, and the session continues in the same run.
pub async fn a_start_of_a_running_session_changes_nothing(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    let before = probe.wait_running(session.hash).await;
    backend.start(&session, Credentials::NONE).await.expect("start again");
    // This change is reported after whatever the second start did.
    backend.touch(session.hash, unix_time(1_900_000_000)).await.expect("touch");
    let touched = |status: &crate::SessionStatus| status.last_activity == unix_time(1_900_000_000);
    let after = probe.wait_for(session.hash, "touched", touched).await;
    assert_eq!(after.phase, Phase::Running(before));
    backend.shutdown().await;
}

/// Concurrent starts start the session once.
pub async fn concurrent_starts_start_once(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    for result in join_all((0..8).map(|_| backend.start(&session, Credentials::NONE))).await {
        result.expect("start");
    }
    probe.wait_running(session.hash).await;
    assert!(h.processes(session.hash).await.is_none_or(|count| count == 1), "one process");
    let runs = probe.phases(session.hash).iter().filter(|p| matches!(p, Some(Phase::Running(_)))).count();
    assert_eq!(runs, 1, "one run: {:?}", probe.phases(session.hash));
    backend.shutdown().await;
}

/// Each start has a run id of its own.
pub async fn each_start_has_its_own_run_id(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    let mut runs = Vec::new();
    for _ in 0..3 {
        backend.start(&session, Credentials::NONE).await.expect("start");
        runs.push(probe.wait_running(session.hash).await.run_id);
        backend.stop(session.hash, StopReason::Requested).await.expect("stop");
        probe.wait_stopped(session.hash).await;
    }
    runs.sort();
    runs.dedup();
    assert_eq!(runs.len(), 3, "three starts, three ids");
    backend.shutdown().await;
}

/// A start whose future is dropped has happened or has not; every command works afterwards.
pub async fn a_cancelled_start_leaves_no_state_in_between(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    for micros in [0, 10, 100, 1_000, 10_000] {
        let _ = timeout(Duration::from_micros(micros), backend.start(&session, Credentials::NONE)).await;
    }
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_running(session.hash).await;
    let _ = timeout(Duration::from_micros(50), backend.delete(session.hash)).await;
    backend.delete(session.hash).await.expect("delete");
    probe.wait_removed(session.hash).await;
    assert!(!h.stored(session.hash).await, "nothing is left");
    backend.shutdown().await;
}

/// A stop ends only the process.
pub async fn a_stop_keeps_storage_and_record(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_running(session.hash).await;
    backend.stop(session.hash, StopReason::Idle).await.expect("stop");
    let status = probe.wait_stopped(session.hash).await;
    assert_eq!(status.phase, Phase::Stopped(StopReason::Idle), "the reason is kept");
    assert_eq!(*status.session, session);
    assert!(h.stored(session.hash).await, "its storage is kept");
    assert!(h.processes(session.hash).await.is_none_or(|count| count == 0), "no process is left");
    backend.shutdown().await;
}

/// A stop with nothing to stop is not an error.
pub async fn a_stop_of_a_stopped_or_absent_session_succeeds(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    backend.stop(session.hash, StopReason::Requested).await.expect("stop of an absent session");
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_running(session.hash).await;
    backend.stop(session.hash, StopReason::Idle).await.expect("stop");
    backend.stop(session.hash, StopReason::Requested).await.expect("stop while stopping");
    probe.wait_stopped(session.hash).await;
    backend.stop(session.hash, StopReason::Requested).await.expect("stop of a stopped session");
    assert!(h.stored(session.hash).await);
    backend.shutdown().await;
}

/// A stop cancels a start in any of its stages.
pub async fn a_stop_cancels_a_start(h: &dyn Harness) {
    let backend = h.open().await;
    for millis in [0, 5, 50] {
        let session = h.startable().await;
        backend.start(&session, Credentials::NONE).await.expect("start");
        tokio::time::sleep(Duration::from_millis(millis)).await;
        backend.stop(session.hash, StopReason::Requested).await.expect("stop");
        // A new watcher, since a session may be reported as never started before its start is reported.
        WatchProbe::new(&*backend, h.patience()).wait_stopped(session.hash).await;
        assert!(h.processes(session.hash).await.is_none_or(|count| count == 0), "no process is left");
        backend.start(&session, Credentials::NONE).await.expect("start after a cancelled start");
        WatchProbe::new(&*backend, h.patience()).wait_running(session.hash).await;
    }
    backend.shutdown().await;
}

/// A start during a stop is carried out once the session has stopped.
pub async fn a_start_during_a_stop_runs_afterwards(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    let first = probe.wait_running(session.hash).await;
    backend.stop(session.hash, StopReason::Requested).await.expect("stop");
    backend.start(&session, Credentials::NONE).await.expect("start while stopping");
    let another = |status: &crate::SessionStatus| matches!(&status.phase, Phase::Running(e) if e.run_id != first.run_id);
    probe.wait_for(session.hash, "running again", another).await;
    assert!(h.processes(session.hash).await.is_none_or(|count| count == 1), "one process");
    backend.shutdown().await;
}

/// A delete removes process, storage and record.
pub async fn a_delete_removes_everything_and_may_be_repeated(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    backend.delete(session.hash).await.expect("delete of an absent session");
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_running(session.hash).await;
    for _ in 0..2 {
        backend.delete(session.hash).await.expect("delete");
    }
    probe.wait_removed(session.hash).await;
    assert!(!h.stored(session.hash).await, "nothing is left");
    assert!(h.processes(session.hash).await.is_none_or(|count| count == 0), "no process is left");
    backend.delete(session.hash).await.expect("delete of a deleted session");
    let backend = h.restart(backend).await;
    let mut probe = WatchProbe::new(&*backend, h.patience());
    probe.next().await;
    assert!(probe.status(session.hash).is_none(), "it does not come back");
    backend.shutdown().await;
}

/// A delete cancels a start and leaves nothing of it.
pub async fn a_delete_cancels_a_start(h: &dyn Harness) {
    let backend = h.open().await;
    let mut probe = WatchProbe::new(&*backend, h.patience());
    for millis in [0, 5, 50] {
        let session = h.startable().await;
        backend.start(&session, Credentials::NONE).await.expect("start");
        probe.wait_for(session.hash, "reported", |_| true).await;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        backend.delete(session.hash).await.expect("delete");
        probe.wait_removed(session.hash).await;
        assert!(!h.stored(session.hash).await, "nothing is left");
        assert!(h.processes(session.hash).await.is_none_or(|count| count == 0), "no process is left");
    }
    backend.shutdown().await;
}

/// A start after a delete creates a new session, as it is asked for now.
pub async fn a_deleted_session_can_be_created_again(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_running(session.hash).await;
    backend.mark_first_prompt_sent(session.hash).await.expect("marked");
    backend.delete(session.hash).await.expect("delete");
    let mut recreated = session.clone();
    recreated.created_at += Duration::from_secs(60);
    recreated.initial_message = None;
    backend.start(&recreated, Credentials::NONE).await.expect("start during or after the delete");
    let new_one = |status: &crate::SessionStatus| {
        status.session.created_at == recreated.created_at && matches!(status.phase, Phase::Running(_))
    };
    let status = probe.wait_for(session.hash, "created again and running", new_one).await;
    assert_eq!(*status.session, recreated);
    assert!(!status.first_prompt_sent, "no prompt was sent to the new session");
    backend.shutdown().await;
}

/// A start that fails leads to a phase with a message for a person, and is not retried by itself.
pub async fn a_failure_has_a_message_and_advice(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.failing().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("a start that will fail is recorded");
    let status = probe.wait_failed(session.hash).await;
    let Phase::Failed(failure) = &status.phase else { unreachable!("checked above") };
    assert!(!failure.code.as_str().is_empty());
    assert!(!failure.message.trim().is_empty(), "it says what happened");
    assert!(!failure.advice.trim().is_empty(), "it says what to do");
    assert!(h.processes(session.hash).await.is_none_or(|count| count == 0), "no process is left");
    backend.shutdown().await;
}

/// A stop of a failed session succeeds, and does not hide the failure.
pub async fn a_stop_of_a_failed_session_leaves_it_failed(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.failing().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_failed(session.hash).await;
    backend.stop(session.hash, StopReason::Requested).await.expect("stop");
    backend.touch(session.hash, unix_time(1_900_000_000)).await.expect("touch");
    let touched = |status: &crate::SessionStatus| status.last_activity == unix_time(1_900_000_000);
    let status = probe.wait_for(session.hash, "touched", touched).await;
    assert!(matches!(status.phase, Phase::Failed(_)), "{:?}", status.phase);
    backend.shutdown().await;
}

/// A start of a failed session tries again.
pub async fn a_start_of_a_failed_session_tries_again(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.failing().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_failed(session.hash).await;
    h.repair(&session).await;
    backend.start(&session, Credentials::NONE).await.expect("start again");
    probe.wait_running(session.hash).await;
    backend.shutdown().await;
}

/// A delete of a failed session leaves nothing of it.
pub async fn a_delete_of_a_failed_session_removes_it(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.failing().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_failed(session.hash).await;
    backend.delete(session.hash).await.expect("delete");
    probe.wait_removed(session.hash).await;
    assert!(!h.stored(session.hash).await, "nothing is left");
    backend.shutdown().await;
}

/// In any order of starts and stops, no storage has two processes, and each run ends before the next one.
pub async fn a_session_never_has_two_runs(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    for round in 0..4_u64 {
        backend.start(&session, Credentials::NONE).await.expect("start");
        if round % 2 == 0 {
            probe.wait_running(session.hash).await;
        }
        backend.stop(session.hash, StopReason::Requested).await.expect("stop");
        backend.start(&session, Credentials::NONE).await.expect("start");
        for _ in 0..5 {
            let count = h.processes(session.hash).await.unwrap_or(1);
            assert!(count <= 1, "{count} processes on one storage");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    backend.stop(session.hash, StopReason::Requested).await.expect("stop");
    probe.wait_stopped(session.hash).await;
    let mut last: Option<std::sync::Arc<str>> = None;
    for phase in probe.phases(session.hash) {
        match phase {
            Some(Phase::Running(endpoint)) => {
                assert!(
                    last.is_none_or(|run| run == endpoint.run_id),
                    "a run began before the one before it ended"
                );
                last = Some(endpoint.run_id);
            }
            _ => last = None,
        }
    }
    backend.shutdown().await;
}

/// After any commands, even concurrent ones, the last one decides how the session ends.
pub async fn the_last_of_many_commands_wins(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    // A new watcher each time, since earlier events may reach a watcher late.
    let verb = async |number: usize| match number % 4 {
        0 | 1 => backend.start(&session, Credentials::NONE).await,
        2 => backend.stop(session.hash, StopReason::Requested).await,
        _ => backend.delete(session.hash).await,
    };
    for last in ["running", "removed"] {
        for result in join_all((0..24).map(&verb)).await {
            result.expect("every command succeeds");
        }
        match last {
            "running" => {
                backend.start(&session, Credentials::NONE).await.expect("start");
                WatchProbe::new(&*backend, h.patience()).wait_running(session.hash).await;
            }
            _ => {
                backend.delete(session.hash).await.expect("delete");
                WatchProbe::new(&*backend, h.patience()).wait_removed(session.hash).await;
                assert!(!h.stored(session.hash).await, "nothing is left");
            }
        }
        assert!(h.processes(session.hash).await.is_none_or(|count| count <= 1), "no process too many");
    }
    backend.shutdown().await;
}

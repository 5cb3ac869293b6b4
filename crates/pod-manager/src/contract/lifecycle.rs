//! Promises on start, stop and delete.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{Eye, Harness};
use crate::model::{Credentials, Phase, StopReason};

/// A start of what is not there makes its storage and runs it, once.
pub async fn starting_what_is_not_there_makes_and_runs_it(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut eye = Eye::on(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    eye.running(session.hash).await;
    let seen = eye.now(session.hash).expect("it runs");
    assert_eq!(*seen.session, session, "what was asked for is what is recorded");
    assert!(!seen.first_prompt_sent, "nobody greeted it");
    assert!(h.stored(session.hash).await, "it has storage");
    assert!(h.processes(session.hash).await.is_none_or(|count| count == 1), "it has one process");
    backend.shutdown().await;
}

/// A start of what runs already is success, and it goes on as it was.
pub async fn starting_what_runs_changes_nothing(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut eye = Eye::on(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    let before = eye.running(session.hash).await;
    backend.start(&session, Credentials::NONE).await.expect("start again");
    // A change of the same session is told after whatever the second start did.
    backend.touch(session.hash, super::moment(1_900_000_000)).await.expect("touch");
    let touched = |seen: &crate::SessionStatus| seen.last_activity == super::moment(1_900_000_000);
    let after = eye.until(session.hash, "touched", touched).await;
    assert_eq!(after.phase, Phase::Running(before));
    backend.shutdown().await;
}

/// Starts that come at once start it once.
pub async fn starting_twice_at_once_starts_once(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut eye = Eye::on(&*backend, h.patience());
    for result in join_all((0..8).map(|_| backend.start(&session, Credentials::NONE))).await {
        result.expect("start");
    }
    eye.running(session.hash).await;
    assert!(h.processes(session.hash).await.is_none_or(|count| count == 1), "one process");
    let runs = eye.phases(session.hash).iter().filter(|p| matches!(p, Some(Phase::Running(_)))).count();
    assert_eq!(runs, 1, "one run: {:?}", eye.phases(session.hash));
    backend.shutdown().await;
}

/// Each start has a name of its own.
pub async fn another_start_is_another_run(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut eye = Eye::on(&*backend, h.patience());
    let mut runs = Vec::new();
    for _ in 0..3 {
        backend.start(&session, Credentials::NONE).await.expect("start");
        runs.push(eye.running(session.hash).await.run_id);
        backend.stop(session.hash, StopReason::Requested).await.expect("stop");
        eye.stopped(session.hash).await;
    }
    runs.sort();
    runs.dedup();
    assert_eq!(runs.len(), 3, "three starts, three names");
    backend.shutdown().await;
}

/// A start whose future is dropped half-way happened, or did not; afterwards all verbs work.
pub async fn a_dropped_start_leaves_nothing_between(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut eye = Eye::on(&*backend, h.patience());
    for micros in [0, 10, 100, 1_000, 10_000] {
        let _ = timeout(Duration::from_micros(micros), backend.start(&session, Credentials::NONE)).await;
    }
    backend.start(&session, Credentials::NONE).await.expect("start");
    eye.running(session.hash).await;
    let _ = timeout(Duration::from_micros(50), backend.delete(session.hash)).await;
    backend.delete(session.hash).await.expect("delete");
    eye.gone(session.hash).await;
    assert!(!h.stored(session.hash).await, "nothing is left");
    backend.shutdown().await;
}

/// A stop ends the process only.
pub async fn stopping_keeps_the_storage_and_the_record(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut eye = Eye::on(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    eye.running(session.hash).await;
    backend.stop(session.hash, StopReason::Idle).await.expect("stop");
    let seen = eye.stopped(session.hash).await;
    assert_eq!(seen.phase, Phase::Stopped(StopReason::Idle), "the reason is kept");
    assert_eq!(*seen.session, session);
    assert!(h.stored(session.hash).await, "its storage is kept");
    assert!(h.processes(session.hash).await.is_none_or(|count| count == 0), "no process is left");
    backend.shutdown().await;
}

/// There is nothing to stop, and that is no error.
pub async fn stopping_what_is_stopped_or_not_there_is_success(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut eye = Eye::on(&*backend, h.patience());
    backend.stop(session.hash, StopReason::Requested).await.expect("stop of nothing");
    backend.start(&session, Credentials::NONE).await.expect("start");
    eye.running(session.hash).await;
    backend.stop(session.hash, StopReason::Idle).await.expect("stop");
    backend.stop(session.hash, StopReason::Requested).await.expect("stop while stopping");
    eye.stopped(session.hash).await;
    backend.stop(session.hash, StopReason::Requested).await.expect("stop of what is stopped");
    assert!(h.stored(session.hash).await);
    backend.shutdown().await;
}

/// A stop calls a start off, wherever it is.
pub async fn stopping_during_a_start_ends_stopped(h: &dyn Harness) {
    let backend = h.open().await;
    for millis in [0, 5, 50] {
        let session = h.startable().await;
        backend.start(&session, Credentials::NONE).await.expect("start");
        tokio::time::sleep(Duration::from_millis(millis)).await;
        backend.stop(session.hash, StopReason::Requested).await.expect("stop");
        // Fresh eyes: a session may be told as never started before its start is.
        Eye::on(&*backend, h.patience()).stopped(session.hash).await;
        assert!(h.processes(session.hash).await.is_none_or(|count| count == 0), "no process is left");
        backend.start(&session, Credentials::NONE).await.expect("start of what was called off");
        Eye::on(&*backend, h.patience()).running(session.hash).await;
    }
    backend.shutdown().await;
}

/// A start that comes while the session stops is kept until it has stopped.
pub async fn starting_while_stopping_starts_after_it_has_stopped(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut eye = Eye::on(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    let first = eye.running(session.hash).await;
    backend.stop(session.hash, StopReason::Requested).await.expect("stop");
    backend.start(&session, Credentials::NONE).await.expect("start while stopping");
    let another =
        |seen: &crate::SessionStatus| matches!(&seen.phase, Phase::Running(e) if e.run_id != first.run_id);
    eye.until(session.hash, "running again", another).await;
    assert!(h.processes(session.hash).await.is_none_or(|count| count == 1), "one process");
    backend.shutdown().await;
}

/// A delete takes process, storage and record.
pub async fn deleting_removes_everything_and_again_is_success(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut eye = Eye::on(&*backend, h.patience());
    backend.delete(session.hash).await.expect("delete of nothing");
    backend.start(&session, Credentials::NONE).await.expect("start");
    eye.running(session.hash).await;
    for _ in 0..2 {
        backend.delete(session.hash).await.expect("delete");
    }
    eye.gone(session.hash).await;
    assert!(!h.stored(session.hash).await, "nothing is left");
    assert!(h.processes(session.hash).await.is_none_or(|count| count == 0), "no process is left");
    backend.delete(session.hash).await.expect("delete of what is gone");
    let backend = h.restart(backend).await;
    let mut eye = Eye::on(&*backend, h.patience());
    eye.read().await;
    assert!(eye.now(session.hash).is_none(), "it does not come back");
    backend.shutdown().await;
}

/// A delete calls a start off, and leaves nothing of it.
pub async fn deleting_during_a_start_removes_everything(h: &dyn Harness) {
    let backend = h.open().await;
    let mut eye = Eye::on(&*backend, h.patience());
    for millis in [0, 5, 50] {
        let session = h.startable().await;
        backend.start(&session, Credentials::NONE).await.expect("start");
        eye.until(session.hash, "there", |_| true).await;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        backend.delete(session.hash).await.expect("delete");
        eye.gone(session.hash).await;
        assert!(!h.stored(session.hash).await, "nothing is left");
        assert!(h.processes(session.hash).await.is_none_or(|count| count == 0), "no process is left");
    }
    backend.shutdown().await;
}

/// A start after a delete makes a new session, with what is asked for now.
pub async fn what_was_deleted_can_be_made_anew(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut eye = Eye::on(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    eye.running(session.hash).await;
    backend.mark_first_prompt_sent(session.hash).await.expect("greeted");
    backend.delete(session.hash).await.expect("delete");
    let mut anew = session.clone();
    anew.created_at += Duration::from_secs(60);
    anew.initial_message = None;
    backend.start(&anew, Credentials::NONE).await.expect("start while it is being deleted, or after");
    let new_one = |seen: &crate::SessionStatus| {
        seen.session.created_at == anew.created_at && matches!(seen.phase, Phase::Running(_))
    };
    let seen = eye.until(session.hash, "made anew and running", new_one).await;
    assert_eq!(*seen.session, anew);
    assert!(!seen.first_prompt_sent, "the new one was not greeted");
    backend.shutdown().await;
}

/// A start that fails is a phase with words for a person, and nothing tries again by itself.
pub async fn a_failed_start_says_what_happened_and_what_to_do(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.failing().await);
    let mut eye = Eye::on(&*backend, h.patience());
    backend
        .start(&session, Credentials::NONE)
        .await
        .expect("a start that will fail is written down all the same");
    let seen = eye.failed(session.hash).await;
    let Phase::Failed(failure) = &seen.phase else { unreachable!("just looked at") };
    assert!(!failure.code.as_str().is_empty());
    assert!(!failure.message.trim().is_empty(), "it says what happened");
    assert!(!failure.advice.trim().is_empty(), "it says what to do");
    assert!(h.processes(session.hash).await.is_none_or(|count| count == 0), "no process is left");
    backend.shutdown().await;
}

/// A stop of what failed is success, and does not hide the failure.
pub async fn stopping_what_failed_leaves_it_failed(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.failing().await);
    let mut eye = Eye::on(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    eye.failed(session.hash).await;
    backend.stop(session.hash, StopReason::Requested).await.expect("stop");
    backend.touch(session.hash, super::moment(1_900_000_000)).await.expect("touch");
    let touched = |seen: &crate::SessionStatus| seen.last_activity == super::moment(1_900_000_000);
    let seen = eye.until(session.hash, "touched", touched).await;
    assert!(matches!(seen.phase, Phase::Failed(_)), "{:?}", seen.phase);
    backend.shutdown().await;
}

/// A start of what failed tries again.
pub async fn starting_what_failed_tries_again(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.failing().await);
    let mut eye = Eye::on(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    eye.failed(session.hash).await;
    h.repair(&session).await;
    backend.start(&session, Credentials::NONE).await.expect("start again");
    eye.running(session.hash).await;
    backend.shutdown().await;
}

/// A delete of what failed leaves nothing of it.
pub async fn deleting_what_failed_removes_it(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.failing().await);
    let mut eye = Eye::on(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    eye.failed(session.hash).await;
    backend.delete(session.hash).await.expect("delete");
    eye.gone(session.hash).await;
    assert!(!h.stored(session.hash).await, "nothing is left");
    backend.shutdown().await;
}

/// However starts and stops come, no storage has two processes, and no run follows another without an end.
pub async fn two_runs_never_exist_at_once(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut eye = Eye::on(&*backend, h.patience());
    for round in 0..4_u64 {
        backend.start(&session, Credentials::NONE).await.expect("start");
        if round % 2 == 0 {
            eye.running(session.hash).await;
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
    eye.stopped(session.hash).await;
    let mut last: Option<std::sync::Arc<str>> = None;
    for phase in eye.phases(session.hash) {
        match phase {
            Some(Phase::Running(endpoint)) => {
                assert!(last.is_none_or(|run| run == endpoint.run_id), "one run follows another at once");
                last = Some(endpoint.run_id);
            }
            _ => last = None,
        }
    }
    backend.shutdown().await;
}

/// Whatever came before and at once: the last verb alone says how it ends.
pub async fn a_storm_of_verbs_ends_in_what_was_asked_last(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    // Each end is looked at with fresh eyes: what came before is seen by others late.
    let verb = async |number: usize| match number % 4 {
        0 | 1 => backend.start(&session, Credentials::NONE).await,
        2 => backend.stop(session.hash, StopReason::Requested).await,
        _ => backend.delete(session.hash).await,
    };
    for last in ["running", "gone"] {
        for result in join_all((0..24).map(&verb)).await {
            result.expect("every verb is success");
        }
        match last {
            "running" => {
                backend.start(&session, Credentials::NONE).await.expect("start");
                Eye::on(&*backend, h.patience()).running(session.hash).await;
            }
            _ => {
                backend.delete(session.hash).await.expect("delete");
                Eye::on(&*backend, h.patience()).gone(session.hash).await;
                assert!(!h.stored(session.hash).await, "nothing is left");
            }
        }
        assert!(h.processes(session.hash).await.is_none_or(|count| count <= 1), "no process too many");
    }
    backend.shutdown().await;
}

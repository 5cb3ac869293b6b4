//! Promises on what watchers see.

use std::time::Duration;

use super::{
    harness::{Harness, unix_time},
    watch_probe::WatchProbe,
};
use crate::{
    backend::WatchEvent,
    model::{Credentials, Phase, StopReason},
};

/// A watcher first gets all sessions, even if there are none.
pub async fn the_first_event_is_a_snapshot(h: &dyn Harness) {
    let backend = h.open().await;
    let mut probe = WatchProbe::new(&*backend, h.patience());
    assert_eq!(probe.next().await, WatchEvent::Snapshot(Vec::new()));
    let (one, two) = (h.startable().await, h.startable().await);
    for session in [&one, &two] {
        backend.start(session, Credentials::NONE).await.expect("start");
        probe.wait_running(session.hash).await;
    }
    backend.stop(two.hash, StopReason::Requested).await.expect("stop");
    probe.wait_stopped(two.hash).await;
    let WatchEvent::Snapshot(all) = WatchProbe::new(&*backend, h.patience()).next().await else {
        panic!("the first event is not a snapshot");
    };
    let mut hashes: Vec<_> = all.iter().map(|status| status.session.hash).collect();
    hashes.sort();
    let mut expected = vec![one.hash, two.hash];
    expected.sort();
    assert_eq!(hashes, expected);
    backend.shutdown().await;
}

/// Watchers do not take events from each other.
pub async fn every_watcher_gets_every_event(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probes: Vec<_> = (0..3).map(|_| WatchProbe::new(&*backend, h.patience())).collect();
    for probe in &mut probes {
        probe.next().await;
    }
    backend.start(&session, Credentials::NONE).await.expect("start");
    let mut runs = Vec::new();
    for probe in &mut probes {
        runs.push(probe.wait_running(session.hash).await);
    }
    assert!(runs.iter().all(|run| *run == runs[0]), "all see the same run");
    backend.shutdown().await;
}

/// A session is starting, with stages that begin in their order, and then running.
pub async fn the_stages_of_a_start_are_in_order(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    probe.next().await;
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_running(session.hash).await;
    let mut phases = probe.phases(session.hash);
    if phases.first() == Some(&Some(Phase::Stopped(StopReason::NeverStarted))) {
        phases.remove(0);
    }
    assert_eq!(phases[0], Some(Phase::Starting));
    assert!(matches!(phases[1], Some(Phase::Running(_))));
    assert_eq!(phases.len(), 2, "{phases:?}");
    for events in &probe.history {
        if let WatchEvent::Applied(status) = events {
            let stages: Vec<_> = status.stages.iter().map(|record| record.stage).collect();
            assert!(stages.is_sorted(), "stages have one order: {stages:?}");
            let begun: Vec<_> = status.stages.iter().map(|record| record.started.is_some()).collect();
            assert!(
                begun.is_sorted_by(|a, b| a >= b),
                "none begins before an earlier one: {:?}",
                status.stages
            );
            let ended = |at: usize| status.stages[at].ended.is_some();
            let active = (0..stages.len()).filter(|at| begun[*at] && !ended(*at)).count();
            assert!(active <= 1, "one stage at a time: {:?}", status.stages);
        }
    }
    let status = probe.status(session.hash).expect("it runs");
    assert!(status.stages.iter().any(|record| record.started.is_some()), "the stages of the start are kept");
    backend.shutdown().await;
}

/// The last event of a deleted session is its removal.
pub async fn a_deleted_session_is_reported_as_removed(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_running(session.hash).await;
    backend.delete(session.hash).await.expect("delete");
    probe.wait_removed(session.hash).await;
    assert_eq!(probe.history.last(), Some(&WatchEvent::Removed(session.hash)));
    backend.shutdown().await;
}

/// A watcher that does not read costs a bounded amount of memory, and still learns the present state.
pub async fn a_slow_watcher_gets_a_snapshot(h: &dyn Harness) {
    let Some(limit) = h.unread_changes() else { return };
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_running(session.hash).await;
    let read = probe.history.len();
    let count = limit as u64 + 50;
    for number in 1..=count {
        backend
            .touch(session.hash, unix_time(1_900_000_000) + Duration::from_secs(number))
            .await
            .expect("touch");
    }
    let last = unix_time(1_900_000_000) + Duration::from_secs(count);
    probe.wait_for(session.hash, "touched last", |status| status.last_activity == last).await;
    let events = &probe.history[read..];
    assert!(events.iter().any(|one| matches!(one, WatchEvent::Snapshot(_))), "a snapshot came");
    assert!(events.len() <= limit + 1, "{} events were kept for it", events.len());
    backend.shutdown().await;
}

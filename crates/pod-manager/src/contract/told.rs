//! Promises on what watchers are told.

use std::time::Duration;

use super::{Eye, Harness, moment};
use crate::{
    backend::WatchEvent,
    model::{Credentials, Phase, StopReason},
};

/// A watcher begins with all there is, also where there is nothing.
pub async fn the_first_observation_is_a_snapshot_of_all(h: &dyn Harness) {
    let backend = h.open().await;
    let mut eye = Eye::on(&*backend, h.patience());
    assert_eq!(eye.read().await, WatchEvent::Snapshot(Vec::new()));
    let (one, two) = (h.startable().await, h.startable().await);
    for session in [&one, &two] {
        backend.start(session, Credentials::NONE).await.expect("start");
        eye.running(session.hash).await;
    }
    backend.stop(two.hash, StopReason::Requested).await.expect("stop");
    eye.stopped(two.hash).await;
    let WatchEvent::Snapshot(all) = Eye::on(&*backend, h.patience()).read().await else {
        panic!("the first observation is no snapshot");
    };
    let mut hashes: Vec<_> = all.iter().map(|seen| seen.session.hash).collect();
    hashes.sort();
    let mut expected = vec![one.hash, two.hash];
    expected.sort();
    assert_eq!(hashes, expected);
    backend.shutdown().await;
}

/// Watchers do not take news from each other.
pub async fn every_watcher_is_told(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut eyes: Vec<_> = (0..3).map(|_| Eye::on(&*backend, h.patience())).collect();
    for eye in &mut eyes {
        eye.read().await;
    }
    backend.start(&session, Credentials::NONE).await.expect("start");
    let mut runs = Vec::new();
    for eye in &mut eyes {
        runs.push(eye.running(session.hash).await);
    }
    assert!(runs.iter().all(|run| *run == runs[0]), "all see the same run");
    backend.shutdown().await;
}

/// Starting, with stages that begin in their order and none after a later one, then running.
pub async fn a_start_is_told_in_order(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut eye = Eye::on(&*backend, h.patience());
    eye.read().await;
    backend.start(&session, Credentials::NONE).await.expect("start");
    eye.running(session.hash).await;
    let mut phases = eye.phases(session.hash);
    if phases.first() == Some(&Some(Phase::Stopped(StopReason::NeverStarted))) {
        phases.remove(0);
    }
    assert_eq!(phases[0], Some(Phase::Starting));
    assert!(matches!(phases[1], Some(Phase::Running(_))));
    assert_eq!(phases.len(), 2, "{phases:?}");
    for news in &eye.history {
        if let WatchEvent::Applied(seen) = news {
            let stages: Vec<_> = seen.stages.iter().map(|record| record.stage).collect();
            assert!(stages.is_sorted(), "stages have one order: {stages:?}");
            let begun: Vec<_> = seen.stages.iter().map(|record| record.started.is_some()).collect();
            assert!(
                begun.is_sorted_by(|a, b| a >= b),
                "none begins before an earlier one: {:?}",
                seen.stages
            );
            let ended = |at: usize| seen.stages[at].ended.is_some();
            let active = (0..stages.len()).filter(|at| begun[*at] && !ended(*at)).count();
            assert!(active <= 1, "one stage at a time: {:?}", seen.stages);
        }
    }
    let seen = eye.now(session.hash).expect("it runs");
    assert!(seen.stages.iter().any(|record| record.started.is_some()), "it tells how it started");
    backend.shutdown().await;
}

/// Who is deleted is told as removed, last.
pub async fn a_removed_session_is_told_as_removed(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut eye = Eye::on(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    eye.running(session.hash).await;
    backend.delete(session.hash).await.expect("delete");
    eye.gone(session.hash).await;
    assert_eq!(eye.history.last(), Some(&WatchEvent::Removed(session.hash)));
    backend.shutdown().await;
}

/// A watcher that does not read costs no memory without bound, and misses nothing that still holds.
pub async fn a_slow_watcher_gets_a_snapshot(h: &dyn Harness) {
    let Some(limit) = h.unread_changes() else { return };
    let (backend, session) = (h.open().await, h.startable().await);
    let mut eye = Eye::on(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    eye.running(session.hash).await;
    let read = eye.history.len();
    let count = limit as u64 + 50;
    for number in 1..=count {
        backend
            .touch(session.hash, moment(1_900_000_000) + Duration::from_secs(number))
            .await
            .expect("touch");
    }
    let last = moment(1_900_000_000) + Duration::from_secs(count);
    eye.until(session.hash, "touched last", |seen| seen.last_activity == last).await;
    let news = &eye.history[read..];
    assert!(news.iter().any(|one| matches!(one, WatchEvent::Snapshot(_))), "a snapshot came");
    assert!(news.len() <= limit + 1, "{} observations were kept for it", news.len());
    backend.shutdown().await;
}

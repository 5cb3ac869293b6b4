//! Promises on what is recorded.

use std::time::Duration;

use super::{
    harness::{Harness, unix_time},
    watch_probe::WatchProbe,
};
use crate::{
    backend::BackendError,
    model::{Credentials, Phase, Source, StopReason},
};

/// The recorded session is the one that was asked for first.
pub async fn a_second_start_does_not_change_the_recorded_session(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_running(session.hash).await;
    let mut other = session.clone();
    other.initial_message = Some("something else".into());
    other.created_at += Duration::from_secs(5);
    backend.start(&other, Credentials::NONE).await.expect("start of a running session");
    backend.stop(session.hash, StopReason::Requested).await.expect("stop");
    probe.wait_stopped(session.hash).await;
    backend.start(&other, Credentials::NONE).await.expect("start of a stopped session");
    probe.wait_running(session.hash).await;
    assert_eq!(*probe.status(session.hash).expect("it runs").session, session);
    backend.shutdown().await;
}

/// Each character and millisecond is kept, with a repository and without one.
pub async fn the_recorded_session_survives_a_restart_unchanged(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut empty = h.startable().await;
    empty.source = Source::Empty;
    empty.initial_message = None;
    let mut probe = WatchProbe::new(&*backend, h.patience());
    for one in [&session, &empty] {
        backend.start(one, Credentials::NONE).await.expect("start");
        probe.wait_running(one.hash).await;
    }
    let backend = h.restart(backend).await;
    let mut probe = WatchProbe::new(&*backend, h.patience());
    for one in [&session, &empty] {
        let status = probe.wait_for(one.hash, "after the restart", |_| true).await;
        assert_eq!(*status.session, *one);
        assert!(
            matches!(status.phase, Phase::Running(_) | Phase::Starting | Phase::Stopped(_)),
            "it continued or was stopped: {:?}",
            status.phase
        );
        backend.start(one, Credentials::NONE).await.expect("start");
        probe.wait_running(one.hash).await;
    }
    backend.shutdown().await;
}

/// A time before the recorded one changes nothing.
pub async fn the_last_activity_never_goes_back(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_running(session.hash).await;
    let touches = [
        unix_time(1_900_000_100),
        unix_time(1_900_000_000),
        unix_time(1_900_000_100),
        unix_time(1_900_000_200),
    ];
    for at in touches {
        backend.touch(session.hash, at).await.expect("touch");
    }
    probe.wait_for(session.hash, "touched last", |status| status.last_activity == touches[3]).await;
    let times: Vec<_> = probe
        .history
        .iter()
        .filter_map(|event| match event {
            crate::WatchEvent::Applied(one) if one.session.hash == session.hash => Some(one.last_activity),
            _ => None,
        })
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    backend.shutdown().await;
}

/// A touch after the delete succeeds, and brings nothing back.
pub async fn a_touch_of_an_absent_session_creates_nothing(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    backend.touch(session.hash, unix_time(1_900_000_000)).await.expect("touch");
    assert!(!h.stored(session.hash).await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    probe.next().await;
    assert!(probe.status(session.hash).is_none());
    backend.shutdown().await;
}

/// The next router knows the newest activity.
pub async fn the_last_activity_survives_a_restart(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_running(session.hash).await;
    backend.touch(session.hash, unix_time(1_900_000_000)).await.expect("touch");
    let backend = h.restart(backend).await;
    let mut probe = WatchProbe::new(&*backend, h.patience());
    let status = probe.wait_for(session.hash, "after the restart", |_| true).await;
    assert_eq!(status.last_activity, unix_time(1_900_000_000));
    backend.shutdown().await;
}

/// The mark stays, through a stop, a start and a restart.
pub async fn first_prompt_sent_survives_a_restart(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_running(session.hash).await;
    backend.mark_first_prompt_sent(session.hash).await.expect("marked");
    backend.mark_first_prompt_sent(session.hash).await.expect("marked again");
    probe.wait_for(session.hash, "marked", |status| status.first_prompt_sent).await;
    backend.stop(session.hash, StopReason::Requested).await.expect("stop");
    assert!(probe.wait_stopped(session.hash).await.first_prompt_sent);
    let backend = h.restart(backend).await;
    let mut probe = WatchProbe::new(&*backend, h.patience());
    assert!(probe.wait_for(session.hash, "after the restart", |_| true).await.first_prompt_sent);
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_running(session.hash).await;
    assert!(probe.status(session.hash).expect("it runs").first_prompt_sent);
    backend.shutdown().await;
}

/// Queries for an absent session fail with `NotFound`.
pub async fn an_absent_session_is_not_found(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    assert!(matches!(backend.mark_first_prompt_sent(session.hash).await, Err(BackendError::NotFound)));
    assert!(matches!(backend.logs(session.hash, 10).await, Err(BackendError::NotFound)));
    assert!(matches!(backend.unsaved_work(session.hash).await, Err(BackendError::NotFound)));
    backend.shutdown().await;
}

/// A session has a log while it runs and after it stopped; no more lines are returned than asked for.
pub async fn a_session_that_ran_has_a_log(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_running(session.hash).await;
    assert!(backend.logs(session.hash, 1).await.expect("logs").trim_end().lines().count() <= 1);
    backend.stop(session.hash, StopReason::Requested).await.expect("stop");
    probe.wait_stopped(session.hash).await;
    backend.logs(session.hash, 100).await.expect("logs of a stopped session");
    assert_eq!(backend.logs(session.hash, 0).await.expect("no lines").trim(), "");
    backend.shutdown().await;
}

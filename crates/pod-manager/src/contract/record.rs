//! Promises on what is written down.

use std::time::Duration;

use super::{Eye, Harness, moment};
use crate::{
    backend::BackendError,
    model::{Credentials, Phase, Source, StopReason},
};

/// The session is what was asked for first.
pub async fn the_recorded_session_is_not_changed_by_another_start(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut eye = Eye::on(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    eye.running(session.hash).await;
    let mut other = session.clone();
    other.initial_message = Some("something else".into());
    other.created_at += Duration::from_secs(5);
    backend.start(&other, Credentials::NONE).await.expect("start of what runs");
    backend.stop(session.hash, StopReason::Requested).await.expect("stop");
    eye.stopped(session.hash).await;
    backend.start(&other, Credentials::NONE).await.expect("start of what is stopped");
    eye.running(session.hash).await;
    assert_eq!(*eye.now(session.hash).expect("it runs").session, session);
    backend.shutdown().await;
}

/// Each character and millisecond of it, with a repository and without one.
pub async fn the_recorded_session_survives_a_restart_to_the_letter(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut empty = h.startable().await;
    empty.source = Source::Empty;
    empty.initial_message = None;
    let mut eye = Eye::on(&*backend, h.patience());
    for one in [&session, &empty] {
        backend.start(one, Credentials::NONE).await.expect("start");
        eye.running(one.hash).await;
    }
    let backend = h.restart(backend).await;
    let mut eye = Eye::on(&*backend, h.patience());
    for one in [&session, &empty] {
        let seen = eye.until(one.hash, "after the restart", |_| true).await;
        assert_eq!(*seen.session, *one);
        assert!(
            matches!(seen.phase, Phase::Running(_) | Phase::Starting | Phase::Stopped(_)),
            "it went on or was stopped: {:?}",
            seen.phase
        );
        backend.start(one, Credentials::NONE).await.expect("start");
        eye.running(one.hash).await;
    }
    backend.shutdown().await;
}

/// Only newer times count.
pub async fn a_touch_never_goes_back(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut eye = Eye::on(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    eye.running(session.hash).await;
    let touches =
        [moment(1_900_000_100), moment(1_900_000_000), moment(1_900_000_100), moment(1_900_000_200)];
    for at in touches {
        backend.touch(session.hash, at).await.expect("touch");
    }
    eye.until(session.hash, "touched last", |seen| seen.last_activity == touches[3]).await;
    let told: Vec<_> = eye
        .history
        .iter()
        .filter_map(|news| match news {
            crate::WatchEvent::Applied(one) if one.session.hash == session.hash => Some(one.last_activity),
            _ => None,
        })
        .collect();
    assert!(told.is_sorted(), "{told:?}");
    backend.shutdown().await;
}

/// A touch that comes after the delete is success, and brings nothing back.
pub async fn a_touch_of_nothing_makes_nothing(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    backend.touch(session.hash, moment(1_900_000_000)).await.expect("touch");
    assert!(!h.stored(session.hash).await);
    let mut eye = Eye::on(&*backend, h.patience());
    eye.read().await;
    assert!(eye.now(session.hash).is_none());
    backend.shutdown().await;
}

/// The newest activity is known to the next router.
pub async fn the_last_activity_survives_a_restart(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut eye = Eye::on(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    eye.running(session.hash).await;
    backend.touch(session.hash, moment(1_900_000_000)).await.expect("touch");
    let backend = h.restart(backend).await;
    let mut eye = Eye::on(&*backend, h.patience());
    let seen = eye.until(session.hash, "after the restart", |_| true).await;
    assert_eq!(seen.last_activity, moment(1_900_000_000));
    backend.shutdown().await;
}

/// Once greeted, always first_prompt_sent: through a stop, a start and a restart.
pub async fn greeted_survives_a_restart(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut eye = Eye::on(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    eye.running(session.hash).await;
    backend.mark_first_prompt_sent(session.hash).await.expect("greeted");
    backend.mark_first_prompt_sent(session.hash).await.expect("greeted again");
    eye.until(session.hash, "greeted", |seen| seen.first_prompt_sent).await;
    backend.stop(session.hash, StopReason::Requested).await.expect("stop");
    assert!(eye.stopped(session.hash).await.first_prompt_sent);
    let backend = h.restart(backend).await;
    let mut eye = Eye::on(&*backend, h.patience());
    assert!(eye.until(session.hash, "after the restart", |_| true).await.first_prompt_sent);
    backend.start(&session, Credentials::NONE).await.expect("start");
    eye.running(session.hash).await;
    assert!(eye.now(session.hash).expect("it runs").first_prompt_sent);
    backend.shutdown().await;
}

/// Questions about what is not there are answered so.
pub async fn what_is_not_there_has_no_log_no_work_and_no_greeting(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    assert!(matches!(backend.mark_first_prompt_sent(session.hash).await, Err(BackendError::NotFound)));
    assert!(matches!(backend.logs(session.hash, 10).await, Err(BackendError::NotFound)));
    assert!(matches!(backend.unsaved_work(session.hash).await, Err(BackendError::NotFound)));
    backend.shutdown().await;
}

/// A log can be had, of no more lines than asked for; while it runs and after it stopped.
pub async fn a_session_that_ran_has_a_log(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut eye = Eye::on(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    eye.running(session.hash).await;
    assert!(backend.logs(session.hash, 1).await.expect("logs").trim_end().lines().count() <= 1);
    backend.stop(session.hash, StopReason::Requested).await.expect("stop");
    eye.stopped(session.hash).await;
    backend.logs(session.hash, 100).await.expect("logs of what is stopped");
    assert_eq!(backend.logs(session.hash, 0).await.expect("no lines").trim(), "");
    backend.shutdown().await;
}

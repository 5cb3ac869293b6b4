//! Promises on what is recorded.

use std::time::Duration;

use futures_util::future::join_all;

use super::{
    harness::{Harness, unix_time},
    watch_probe::WatchProbe,
};
use crate::{
    attach::{AttachChange, AttachToken, AttachTokens},
    backend::BackendError,
    model::{Credentials, Phase, SessionStatus, Source, StopReason},
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

/// Returns a token that no clock of a test has expired.
fn attach_token(name: &str) -> AttachToken {
    AttachToken::generate(name, unix_time(4_000_000_000), Duration::from_secs(1_000)).1
}

/// Tokens stay through a stop and a restart, but a session that is created again has none.
pub async fn attach_tokens_survive_restarts_and_end_with_the_session(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_running(session.hash).await;
    let (kept, revoked) = (attach_token("kept"), attach_token("revoked"));
    for token in [&kept, &revoked] {
        backend
            .change_attach_tokens(session.hash, AttachChange::Create(token.clone()))
            .await
            .expect("created");
    }
    backend.change_attach_tokens(session.hash, AttachChange::Revoke(revoked.id)).await.expect("revoked");
    let has_kept = |status: &SessionStatus| {
        let ids = status.attach_tokens.valid(unix_time(4_000_000_000)).map(|token| token.id);
        ids.collect::<Vec<_>>() == [kept.id]
    };
    probe.wait_for(session.hash, "with one token", has_kept).await;
    backend.stop(session.hash, StopReason::Requested).await.expect("stop");
    assert!(has_kept(&*probe.wait_stopped(session.hash).await));

    let backend = h.restart(backend).await;
    let mut probe = WatchProbe::new(&*backend, h.patience());
    probe.wait_for(session.hash, "with one token after the restart", has_kept).await;
    let mut recreated = session.clone();
    recreated.created_at += Duration::from_secs(60);
    backend.delete(session.hash).await.expect("delete");
    backend.start(&recreated, Credentials::NONE).await.expect("start");
    let is_new = |status: &SessionStatus| status.session.created_at == recreated.created_at;
    let status = probe.wait_for(session.hash, "created again", is_new).await;
    assert!(status.attach_tokens.is_empty(), "{:?}", status.attach_tokens);
    backend.shutdown().await;
}

/// Changes of one session's tokens at once all take effect, up to the most tokens that it may have.
pub async fn of_simultaneous_changes_of_attach_tokens_none_is_lost(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    let mut probe = WatchProbe::new(&*backend, h.patience());
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_running(session.hash).await;
    let create = |_| {
        let change = AttachChange::Create(attach_token("x"));
        backend.change_attach_tokens(session.hash, change)
    };
    let results = join_all((0..AttachTokens::MAX + 2).map(create)).await;
    let refused = results.into_iter().filter_map(Result::err);
    let refused: Vec<_> = refused.collect();
    assert!(
        refused.len() == 2 && refused.iter().all(|error| matches!(error, BackendError::TooManyAttachTokens)),
        "{refused:?}"
    );
    let is_full = |status: &SessionStatus| {
        status.attach_tokens.valid(unix_time(4_000_000_000)).count() == AttachTokens::MAX
    };
    probe.wait_for(session.hash, "with all tokens", is_full).await;
    backend.change_attach_tokens(session.hash, AttachChange::RevokeAll).await.expect("revoked");
    probe.wait_for(session.hash, "without tokens", |status| status.attach_tokens.is_empty()).await;
    backend.shutdown().await;
}

/// Queries for an absent session fail with `NotFound`.
pub async fn an_absent_session_is_not_found(h: &dyn Harness) {
    let (backend, session) = (h.open().await, h.startable().await);
    assert!(matches!(backend.mark_first_prompt_sent(session.hash).await, Err(BackendError::NotFound)));
    let revoked = backend.change_attach_tokens(session.hash, AttachChange::RevokeAll).await;
    assert!(matches!(revoked, Err(BackendError::NotFound)));
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

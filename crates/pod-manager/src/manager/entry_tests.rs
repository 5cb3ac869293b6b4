//! An entry, report by report.

use super::*;
use crate::{
    manager::{ViewState, entry_state::OPTIMISTIC_TTL},
    model::{Failure, FailureCode, Phase, Source, StopReason},
};

const NOW: SystemTime = UNIX_EPOCH;

/// A session created at that second.
fn session(created: u64) -> Arc<Session> {
    Arc::new(Session {
        hash: SessionHash::from_bytes([7; 6]),
        owner: Identity::parse("alice@example.com").expect("an address"),
        source: Source::Empty,
        initial_message: None,
        created_at: UNIX_EPOCH + Duration::from_secs(created),
    })
}

fn report(created: u64, phase: Phase) -> Arc<SessionStatus> {
    let session = session(created);
    let since = session.created_at;
    Arc::new(SessionStatus {
        session,
        phase,
        since,
        stages: Vec::new(),
        last_activity: since,
        first_prompt_sent: false,
        attach_tokens: Arc::default(),
    })
}

fn running(run: &str) -> Phase {
    Phase::Running(Endpoint { address: ([127, 0, 0, 1], 9).into(), password: None, run_id: run.into() })
}

fn entry() -> (Arc<Entry>, Subscriptions) {
    let session = session(1);
    (Entry::new(session.hash, session.owner.clone(), Arc::default()), Subscriptions::default())
}

fn state(entry: &Entry) -> Option<ViewState> {
    entry.view().map(|view| view.state)
}

#[test]
fn a_deleted_session_stays_hidden_while_the_backend_still_reports_it() {
    let (entry, subscriptions) = entry();
    entry.apply(&report(1, running("a")), NOW, true, &subscriptions);
    assert_eq!(state(&entry), Some(ViewState::Running));
    entry.set_pending_delete(NOW, &subscriptions);
    for phase in [running("a"), Phase::Stopping, Phase::Stopped(StopReason::Requested)] {
        entry.apply(&report(1, phase), NOW, false, &subscriptions);
        assert_eq!(state(&entry), None);
    }
    entry.mark_removed(NOW, &subscriptions);
    assert!(entry.is_vacant());
}

#[test]
fn a_failed_deletion_is_shown() {
    let (entry, subscriptions) = entry();
    entry.apply(&report(1, running("a")), NOW, true, &subscriptions);
    entry.set_pending_delete(NOW, &subscriptions);
    let failure = Failure {
        code: FailureCode::BackendError,
        message: "the folder cannot be removed".into(),
        advice: "check the disk".into(),
        log_tail: None,
    };
    entry.apply(&report(1, Phase::Failed(failure)), NOW, false, &subscriptions);
    assert_eq!(state(&entry), Some(ViewState::Failed));
}

#[test]
fn a_recreated_session_is_shown_before_the_removal_of_the_old_one_is_reported() {
    let (entry, subscriptions) = entry();
    entry.apply(&report(1, running("a")), NOW, true, &subscriptions);
    entry.set_pending_delete(NOW, &subscriptions);
    entry.apply(&report(2, Phase::Starting), NOW, false, &subscriptions);
    assert_eq!(state(&entry), Some(ViewState::Creating));
}

#[test]
fn a_pending_session_is_shown_until_the_backend_reports_it() {
    let (entry, subscriptions) = entry();
    entry.apply(&report(1, running("a")), NOW, true, &subscriptions);
    entry.set_pending_delete(NOW, &subscriptions);
    entry.set_pending_create(&session(2), NOW, &subscriptions);
    for status in [report(1, running("a")), report(1, Phase::Stopping)] {
        entry.apply(&status, NOW, false, &subscriptions);
        assert_eq!(entry.view().expect("a pending session").status.session, session(2));
        assert_eq!(state(&entry), Some(ViewState::Creating));
    }
    entry.mark_removed(NOW, &subscriptions);
    assert!(!entry.is_vacant());
    assert_eq!(state(&entry), Some(ViewState::Creating));
    entry.apply(&report(2, Phase::Stopping), NOW, false, &subscriptions);
    assert_eq!(state(&entry), Some(ViewState::Stopping), "the report counts");
}

#[test]
fn a_reported_session_is_shown_as_reported_when_its_start_is_accepted() {
    let (entry, subscriptions) = entry();
    entry.apply(&report(1, Phase::Stopping), NOW, false, &subscriptions);
    entry.set_pending_create(&session(1), NOW, &subscriptions);
    assert_eq!(state(&entry), Some(ViewState::Stopping));
}

#[tokio::test(start_paused = true)]
async fn an_unconfirmed_change_is_dropped_after_its_ttl() {
    let (entry, subscriptions) = entry();
    entry.set_pending_create(&session(1), NOW, &subscriptions);
    tokio::time::advance(OPTIMISTIC_TTL / 2).await;
    entry.sweep(NOW, Duration::ZERO, &subscriptions);
    assert_eq!(state(&entry), Some(ViewState::Creating));
    tokio::time::advance(OPTIMISTIC_TTL / 2).await;
    entry.sweep(NOW, Duration::ZERO, &subscriptions);
    assert!(state(&entry).is_none() && entry.is_vacant());

    entry.apply(&report(1, running("a")), NOW, true, &subscriptions);
    entry.set_pending_delete(NOW, &subscriptions);
    tokio::time::advance(OPTIMISTIC_TTL).await;
    entry.sweep(NOW, Duration::ZERO, &subscriptions);
    assert_eq!(state(&entry), Some(ViewState::Running), "the session still exists");

    assert!(entry.close_unless_routed(entry.routes(), NOW, &subscriptions));
    assert_eq!(state(&entry), Some(ViewState::Stopping));
    tokio::time::advance(OPTIMISTIC_TTL).await;
    entry.sweep(NOW, Duration::ZERO, &subscriptions);
    assert_eq!(state(&entry), Some(ViewState::Running), "the backend does not stop it");
    assert!(!entry.count_route(|_, closing| closing));
}

#[test]
fn a_run_begins_once_and_ends_when_the_next_begins() {
    let (entry, subscriptions) = entry();
    let first = entry.apply(&report(1, running("a")), NOW, false, &subscriptions).expect("a new run");
    assert!(entry.apply(&report(1, running("a")), NOW, false, &subscriptions).is_none(), "the same one");
    let second = entry.apply(&report(1, running("b")), NOW, false, &subscriptions).expect("another one");
    assert!(first.token.is_cancelled() && !second.token.is_cancelled());
    entry.update_run(&first.endpoint, NOW, &subscriptions, |run| run.opened_at = Some(NOW));
    assert_eq!(state(&entry), Some(ViewState::Creating), "an update of a run that is over is ignored");
    entry.update_run(&second.endpoint, NOW, &subscriptions, |run| run.opened_at = Some(NOW));
    assert_eq!(state(&entry), Some(ViewState::Running));
    entry.apply(&report(1, Phase::Stopping), NOW, false, &subscriptions);
    assert!(second.token.is_cancelled());
}

#[test]
fn closing_ends_with_the_run() {
    let (entry, subscriptions) = entry();
    entry.apply(&report(1, running("a")), NOW, true, &subscriptions);
    assert!(entry.close_unless_routed(entry.routes(), NOW, &subscriptions));
    entry.apply(&report(1, running("a")), NOW, false, &subscriptions);
    assert!(entry.count_route(|_, closing| closing), "more of the same run");
    entry.apply(&report(1, Phase::Stopped(StopReason::Idle)), NOW, false, &subscriptions);
    assert!(!entry.count_route(|_, closing| closing));
}

#[test]
fn a_request_that_is_routed_meanwhile_keeps_the_session_open() {
    let (entry, subscriptions) = entry();
    entry.apply(&report(1, running("a")), NOW, true, &subscriptions);
    let routes = entry.routes();
    entry.count_route(|_, closing| assert!(!closing));
    assert!(!entry.close_unless_routed(routes, NOW, &subscriptions));
    entry.count_route(|_, closing| assert!(!closing, "it stays open"));
    assert_eq!(state(&entry), Some(ViewState::Running));
}

use std::sync::Arc;

use session_key::SessionHash;

use super::*;
use crate::{
    manager::Status,
    model::{Failure, FailureCode, Source, StopReason},
};

const NOW: SystemTime = UNIX_EPOCH;

/// A session made at that second.
fn session(made: u64) -> Arc<Session> {
    Arc::new(Session {
        hash: SessionHash::from_bytes([7; 6]),
        owner: Identity::parse("alice@example.com").expect("an address"),
        source: Source::Empty,
        initial_message: None,
        created_at: UNIX_EPOCH + Duration::from_secs(made),
    })
}

fn observed(made: u64, phase: Phase) -> Arc<SessionStatus> {
    let session = session(made);
    let since = session.created_at;
    Arc::new(SessionStatus {
        session,
        phase,
        since,
        stages: Vec::new(),
        last_activity: since,
        first_prompt_sent: false,
    })
}

fn running(run: &str) -> Phase {
    Phase::Running(Endpoint { address: ([127, 0, 0, 1], 9).into(), password: None, run_id: run.into() })
}

fn slot() -> (Arc<Slot>, Hub) {
    let session = session(1);
    (Slot::new(session.hash, session.owner.clone()), Hub::default())
}

fn status(slot: &Slot) -> Option<Status> {
    slot.view().map(|view| view.status)
}

#[test]
fn what_was_deleted_is_not_shown_whatever_is_still_told_of_it() {
    let (slot, hub) = slot();
    slot.apply(&observed(1, running("a")), NOW, true, &hub);
    assert_eq!(status(&slot), Some(Status::Running));
    slot.delete(NOW, &hub);
    for phase in [running("a"), Phase::Stopping, Phase::Stopped(StopReason::Requested)] {
        slot.apply(&observed(1, phase), NOW, false, &hub);
        assert_eq!(status(&slot), None);
    }
    slot.removed(NOW, &hub);
    assert!(slot.is_vacant());
}

#[test]
fn a_deletion_that_failed_is_shown() {
    let (slot, hub) = slot();
    slot.apply(&observed(1, running("a")), NOW, true, &hub);
    slot.delete(NOW, &hub);
    let failure = Failure {
        code: FailureCode::BackendError,
        message: "it can't be removed".into(),
        advice: "look at the disk".into(),
        log_tail: None,
    };
    slot.apply(&observed(1, Phase::Failed(failure)), NOW, false, &hub);
    assert_eq!(status(&slot), Some(Status::Failed));
}

#[test]
fn who_is_made_anew_is_shown_though_nobody_told_that_the_old_one_is_gone() {
    let (slot, hub) = slot();
    slot.apply(&observed(1, running("a")), NOW, true, &hub);
    slot.delete(NOW, &hub);
    slot.apply(&observed(2, Phase::Starting), NOW, false, &hub);
    assert_eq!(status(&slot), Some(Status::Creating));
}

#[test]
fn who_is_expected_is_shown_until_the_backend_tells_of_it() {
    let (slot, hub) = slot();
    slot.apply(&observed(1, running("a")), NOW, true, &hub);
    slot.delete(NOW, &hub);
    slot.expect(&session(2), NOW, &hub);
    for told in [observed(1, running("a")), observed(1, Phase::Stopping)] {
        slot.apply(&told, NOW, false, &hub);
        assert_eq!(slot.view().expect("expected").observed.session, session(2));
        assert_eq!(status(&slot), Some(Status::Creating));
    }
    slot.removed(NOW, &hub);
    assert!(!slot.is_vacant());
    assert_eq!(status(&slot), Some(Status::Creating));
    slot.apply(&observed(2, Phase::Stopping), NOW, false, &hub);
    assert_eq!(status(&slot), Some(Status::Stopping), "what is told counts");
}

#[test]
fn who_is_expected_and_was_told_of_already_is_shown_as_told() {
    let (slot, hub) = slot();
    slot.apply(&observed(1, Phase::Stopping), NOW, false, &hub);
    slot.expect(&session(1), NOW, &hub);
    assert_eq!(status(&slot), Some(Status::Stopping));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_confirms_is_not_believed_for_ever() {
    let (slot, hub) = slot();
    slot.expect(&session(1), NOW, &hub);
    tokio::time::advance(BELIEF / 2).await;
    slot.sweep(NOW, Duration::ZERO, &hub);
    assert_eq!(status(&slot), Some(Status::Creating));
    tokio::time::advance(BELIEF / 2).await;
    slot.sweep(NOW, Duration::ZERO, &hub);
    assert!(status(&slot).is_none() && slot.is_vacant());

    slot.apply(&observed(1, running("a")), NOW, true, &hub);
    slot.delete(NOW, &hub);
    tokio::time::advance(BELIEF).await;
    slot.sweep(NOW, Duration::ZERO, &hub);
    assert_eq!(status(&slot), Some(Status::Running), "it is still there");

    assert!(slot.close_unless_routed(slot.routed(), NOW, &hub));
    assert_eq!(status(&slot), Some(Status::Stopping));
    tokio::time::advance(BELIEF).await;
    slot.sweep(NOW, Duration::ZERO, &hub);
    assert_eq!(status(&slot), Some(Status::Running), "the backend does not stop it");
    assert!(!slot.look(|_, closing| closing));
}

#[test]
fn each_run_begins_once_and_ends_with_the_next() {
    let (slot, hub) = slot();
    let first = slot.apply(&observed(1, running("a")), NOW, false, &hub).expect("a new run");
    assert!(slot.apply(&observed(1, running("a")), NOW, false, &hub).is_none(), "the same one");
    let second = slot.apply(&observed(1, running("b")), NOW, false, &hub).expect("another one");
    assert!(first.token.is_cancelled() && !second.token.is_cancelled());
    slot.learn(&first.endpoint, NOW, &hub, |run| run.opened = Some(NOW));
    assert_eq!(status(&slot), Some(Status::Creating), "what is learnt of a run that is over is forgotten");
    slot.learn(&second.endpoint, NOW, &hub, |run| run.opened = Some(NOW));
    assert_eq!(status(&slot), Some(Status::Running));
    slot.apply(&observed(1, Phase::Stopping), NOW, false, &hub);
    assert!(second.token.is_cancelled());
}

#[test]
fn a_mark_to_close_ends_with_the_run() {
    let (slot, hub) = slot();
    slot.apply(&observed(1, running("a")), NOW, true, &hub);
    assert!(slot.close_unless_routed(slot.routed(), NOW, &hub));
    slot.apply(&observed(1, running("a")), NOW, false, &hub);
    assert!(slot.look(|_, closing| closing), "more of the same run");
    slot.apply(&observed(1, Phase::Stopped(StopReason::Idle)), NOW, false, &hub);
    assert!(!slot.look(|_, closing| closing));
}

#[test]
fn who_is_let_in_while_it_closes_is_seen() {
    let (slot, hub) = slot();
    slot.apply(&observed(1, running("a")), NOW, true, &hub);
    let routed = slot.routed();
    slot.look(|_, closing| assert!(!closing));
    assert!(!slot.close_unless_routed(routed, NOW, &hub));
    slot.look(|_, closing| assert!(!closing, "it stays open"));
    assert_eq!(status(&slot), Some(Status::Running));
}

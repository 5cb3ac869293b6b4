//! When a session is stopped because nobody needs it, and when it is not.

use std::time::{Duration, SystemTime};

use pod_manager::{
    Clock, Credentials, ManagerSettings, Phase, RouteError, StopReason, ViewState, memory::Restart,
    memory::Verb,
};

use crate::house::{House, IDLE, alice, quick};

const SECOND: Duration = Duration::from_secs(1);

impl House {
    pub(crate) fn clock_now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Waits until the manager has looked at the session again, twice: so it saw all that was so before, and it did
    /// what it does about it.
    async fn looked_at(&self) {
        self.opencode.asked(3).await;
    }
}

#[tokio::test]
async fn a_session_that_nobody_uses_is_stopped_after_the_timeout_and_not_before() {
    let house = House::new().await;
    let hash = house.running("widgets").await;
    house.clock.advance(IDLE - SECOND);
    house.looked_at().await;
    assert_eq!(house.manager.get(&alice(), hash).expect("it is there").state, ViewState::Running);
    house.clock.advance(SECOND);
    let seen = house.until(hash, ViewState::Stopped).await;
    assert_eq!(seen.status.phase, Phase::Stopped(StopReason::Idle));
    assert!(matches!(house.manager.route(&alice(), hash), Err(RouteError::NotRunning(ViewState::Stopped))));
    assert_eq!(house.backend.calls(Verb::Stop, hash), 1);
}

#[tokio::test]
async fn a_persons_request_keeps_it() {
    let house = House::new().await;
    let hash = house.running("widgets").await;
    house.clock.advance(IDLE - SECOND);
    house.manager.touch(hash);
    house.clock.advance(IDLE - SECOND);
    house.looked_at().await;
    assert_eq!(house.manager.get(&alice(), hash).expect("it is there").state, ViewState::Running);
    house.clock.advance(SECOND);
    house.until(hash, ViewState::Stopped).await;
}

#[tokio::test]
async fn a_route_that_was_asked_for_is_no_activity() {
    let house = House::new().await;
    let hash = house.running("widgets").await;
    house.clock.advance(IDLE - SECOND);
    house.manager.route(&alice(), hash).expect("it runs");
    house.clock.advance(SECOND);
    house.until(hash, ViewState::Stopped).await;
}

#[tokio::test]
async fn an_agent_at_work_keeps_it_and_the_timeout_begins_when_it_is_done() {
    let house = House::new().await;
    let hash = house.running("widgets").await;
    house.opencode.set_busy(true);
    house.when(hash, |view| view.busy).await;
    house.clock.advance(3 * IDLE);
    house.looked_at().await;
    assert_eq!(house.manager.get(&alice(), hash).expect("it is there").state, ViewState::Running);
    house.opencode.set_busy(false);
    house.when(hash, |view| !view.busy).await;
    house.clock.advance(IDLE - SECOND);
    house.looked_at().await;
    assert_eq!(house.manager.get(&alice(), hash).expect("it is there").state, ViewState::Running);
    house.clock.advance(SECOND);
    house.until(hash, ViewState::Stopped).await;
}

#[tokio::test]
async fn who_can_not_be_asked_is_not_stopped() {
    let house = House::new().await;
    let hash = house.running("widgets").await;
    house.opencode.set_silent(true);
    house.clock.advance(3 * IDLE);
    house.looked_at().await;
    assert_eq!(house.manager.get(&alice(), hash).expect("it is there").state, ViewState::Running);
    assert_eq!(house.backend.calls(Verb::Stop, hash), 0);
    house.opencode.set_silent(false);
    house.until(hash, ViewState::Stopped).await;
}

#[tokio::test]
async fn a_router_that_was_away_does_not_stop_what_it_did_not_see() {
    let mut house = House::new().await;
    let hash = house.running("widgets").await;
    house.end().await;
    house.clock.advance(3 * IDLE);
    house.restart(Restart::ProcessesWentOn).await;
    house.when(hash, |view| view.landing_path.is_some()).await;
    house.looked_at().await;
    assert_eq!(house.manager.get(&alice(), hash).expect("it is there").state, ViewState::Running);
    house.clock.advance(IDLE);
    house.until(hash, ViewState::Stopped).await;
}

#[tokio::test]
async fn the_last_activity_is_known_to_the_next_router() {
    let mut house = House::new().await;
    let hash = house.running("widgets").await;
    house.clock.advance(7 * SECOND);
    house.manager.touch(hash);
    let used = house.clock_now();
    house.end().await;
    house.clock.advance(100 * SECOND);
    house.restart(Restart::ProcessesEnded).await;
    assert_eq!(house.manager.get(&alice(), hash).expect("it is there").last_activity, used);
}

#[tokio::test]
async fn activity_is_written_once_a_minute_and_told_every_ten_seconds() {
    let house = House::new().await;
    let hash = house.running("widgets").await;
    let told = || house.manager.get(&alice(), hash).expect("it is there").last_activity;
    let mut tellings = std::collections::BTreeSet::new();
    for _ in 0..120 {
        house.clock.advance(SECOND);
        house.manager.touch(hash);
        tokio::time::sleep(Duration::from_millis(6)).await;
        tellings.insert(told());
    }
    // Every ten seconds, and once more each time that it is written down.
    assert!(tellings.len() <= 17, "told {} times in two minutes", tellings.len());
    let written = house.backend.calls(Verb::Touch, hash);
    assert!((1..=3).contains(&written), "written {written} times in two minutes");
    let used = house.clock_now();
    house.clock.advance(10 * SECOND);
    house.eventually("the last one is told", || told() == used).await;
    house.clock.advance(61 * SECOND);
    house
        .eventually("the last one is written too", || {
            house.backend.observed(hash).expect("it is there").last_activity == used
        })
        .await;
}

#[tokio::test]
async fn a_stop_that_fails_leaves_the_session_open_and_is_tried_again() {
    let house = House::new().await;
    let hash = house.running("widgets").await;
    house
        .backend
        .refuse(|verb| (verb == Verb::Stop).then(|| pod_manager::BackendError::Unavailable("gone".into())));
    house.opencode.hold_status().await;
    house.clock.advance(IDLE);
    // Twice it says that no agent is at work; then the stop is tried; then it is asked anew.
    house.opencode.answer_one().await;
    house.opencode.answer_one().await;
    assert_eq!(house.backend.calls(Verb::Stop, hash), 1);
    assert_eq!(house.manager.get(&alice(), hash).expect("it is there").state, ViewState::Running);
    assert!(house.manager.route(&alice(), hash).is_ok());
    house.opencode.release_status();
    house.backend.refuse_nothing();
    house.until(hash, ViewState::Stopped).await;
}

#[tokio::test]
async fn a_session_that_is_resumed_has_the_whole_timeout_again() {
    let house = House::new().await;
    let hash = house.running("widgets").await;
    house.clock.advance(IDLE);
    house.until(hash, ViewState::Stopped).await;
    house.clock.advance(5 * IDLE);
    house.manager.resume(&alice(), hash, Credentials::NONE).await.expect("resume");
    house.until(hash, ViewState::Running).await;
    house.clock.advance(IDLE - SECOND);
    house.looked_at().await;
    assert_eq!(house.manager.get(&alice(), hash).expect("it is there").state, ViewState::Running);
}

#[tokio::test]
async fn a_clock_that_goes_back_stops_nobody() {
    let house = House::new().await;
    let hash = house.running("widgets").await;
    house.clock.set(house.clock_now() - 10 * IDLE);
    house.looked_at().await;
    assert_eq!(house.manager.get(&alice(), hash).expect("it is there").state, ViewState::Running);
}

#[tokio::test]
async fn whoever_comes_to_look_is_told_what_is_so_now() {
    let unwatched = ManagerSettings { probe_interval_unwatched: Duration::from_secs(3600), ..quick() };
    let house = House::with(unwatched).await;
    let hash = house.running("widgets").await;
    for busy in [true, false, true] {
        house.opencode.set_busy(busy);
        house.when(hash, |view| view.busy == busy).await;
    }
}

#[tokio::test]
async fn an_agent_that_begins_to_work_as_the_session_is_to_be_stopped_keeps_it() {
    let house = House::new().await;
    let hash = house.running("widgets").await;
    house.opencode.hold_status().await;
    house.clock.advance(IDLE);
    // The first question is answered with no; the next one is the last before the stop.
    house.opencode.answer_one().await;
    house.opencode.set_busy(true);
    house.opencode.release_status();
    house.looked_at().await;
    assert_eq!(house.backend.calls(Verb::Stop, hash), 0);
    assert_eq!(house.manager.get(&alice(), hash).expect("it is there").state, ViewState::Running);
}

#[tokio::test]
async fn a_request_that_comes_while_the_last_question_is_asked_keeps_it() {
    let house = House::new().await;
    let hash = house.running("widgets").await;
    house.opencode.hold_status().await;
    house.clock.advance(IDLE);
    house.opencode.answer_one().await;
    house.manager.route(&alice(), hash).expect("it is let in");
    // Whether or not it turns out to be a person's.
    house.opencode.answer_one().await;
    assert_eq!(house.backend.calls(Verb::Stop, hash), 0, "it was not cut off");
    house.opencode.release_status();
    house.until(hash, ViewState::Stopped).await;
}

#[tokio::test]
async fn no_request_is_let_in_while_the_stop_is_being_written_down() {
    let house = House::new().await;
    let hash = house.running("widgets").await;
    house.backend.slow_verbs(Duration::from_millis(500));
    house.clock.advance(IDLE);
    house.eventually("it is to be stopped", || house.backend.calls(Verb::Stop, hash) == 1).await;
    assert!(matches!(house.backend.observed(hash).expect("it is there").phase, Phase::Running(_)));
    assert_eq!(house.manager.route(&alice(), hash), Err(RouteError::NotRunning(ViewState::Stopping)));
    assert_eq!(house.manager.get(&alice(), hash).expect("it is there").state, ViewState::Stopping);
    house.until(hash, ViewState::Stopped).await;
}

#[tokio::test]
async fn of_several_routers_only_the_one_that_reaps_stops_what_is_idle() {
    let house = House::new().await;
    let hash = house.running("widgets").await;
    house.backend.set_leader(false);
    house.clock.advance(IDLE * 2);
    house.looked_at().await;
    assert_eq!(house.manager.get(&alice(), hash).expect("it is there").state, ViewState::Running);
    house.backend.set_leader(true);
    // What the others saw may not be written down yet.
    house.looked_at().await;
    assert_eq!(house.backend.calls(Verb::Stop, hash), 0);
    house.clock.advance(2 * ManagerSettings::default().activity_write_interval);
    house.until(hash, ViewState::Stopped).await;
    assert_eq!(house.backend.calls(Verb::Stop, hash), 1);
}

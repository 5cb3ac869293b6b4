//! When a session is stopped as idle, and when it is not.

use std::time::Duration;

use pod_manager::{
    BackendError, Credentials, ManagerSettings, Phase, RouteError, StopReason, ViewState,
    memory::BackendCommand, memory::Restart,
};

use crate::test_manager::{IDLE, TestManager, alice, fast_settings};

const SECOND: Duration = Duration::from_secs(1);

impl TestManager {
    /// Waits until the manager has probed the session again and acted on it: the third probe begins after
    /// that.
    async fn wait_probed(&self) {
        self.opencode.wait_for_probes(3).await;
    }
}

#[tokio::test]
async fn an_unused_session_is_stopped_at_the_idle_timeout_and_not_before() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.clock.advance(IDLE - SECOND);
    test.wait_probed().await;
    assert_eq!(test.state(hash), ViewState::Running);
    test.clock.advance(SECOND);
    let view = test.wait_state(hash, ViewState::Stopped).await;
    assert_eq!(view.status.phase, Phase::Stopped(StopReason::Idle));
    assert!(matches!(test.manager.route(&alice(), hash), Err(RouteError::NotRunning(ViewState::Stopped))));
    assert_eq!(test.backend.calls(BackendCommand::Stop, hash), 1);
}

#[tokio::test]
async fn user_activity_restarts_the_idle_timeout() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.clock.advance(IDLE - SECOND);
    test.manager.touch(hash);
    test.clock.advance(IDLE - SECOND);
    test.wait_probed().await;
    assert_eq!(test.state(hash), ViewState::Running);
    test.clock.advance(SECOND);
    test.wait_state(hash, ViewState::Stopped).await;
}

#[tokio::test]
async fn a_route_lookup_is_no_activity() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.clock.advance(IDLE - SECOND);
    test.manager.route(&alice(), hash).expect("a route");
    test.clock.advance(SECOND);
    test.wait_state(hash, ViewState::Stopped).await;
}

#[tokio::test]
async fn a_busy_agent_keeps_the_session_running_and_restarts_the_timeout() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.opencode.set_busy(true);
    test.wait_for(hash, |view| view.busy).await;
    test.clock.advance(3 * IDLE);
    test.wait_probed().await;
    assert_eq!(test.state(hash), ViewState::Running);
    test.opencode.set_busy(false);
    test.wait_for(hash, |view| !view.busy).await;
    test.clock.advance(IDLE - SECOND);
    test.wait_probed().await;
    assert_eq!(test.state(hash), ViewState::Running);
    test.clock.advance(SECOND);
    test.wait_state(hash, ViewState::Stopped).await;
}

#[tokio::test]
async fn an_unreachable_session_is_not_stopped() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.opencode.set_unresponsive(true);
    test.clock.advance(3 * IDLE);
    test.wait_probed().await;
    assert_eq!(test.state(hash), ViewState::Running);
    assert_eq!(test.backend.calls(BackendCommand::Stop, hash), 0);
    test.opencode.set_unresponsive(false);
    test.wait_state(hash, ViewState::Stopped).await;
}

#[tokio::test]
async fn a_router_that_was_down_does_not_count_that_time_as_idle() {
    let mut test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.end().await;
    test.clock.advance(3 * IDLE);
    test.restart(Restart::ProcessesContinued).await;
    test.wait_for(hash, |view| view.landing_path.is_some()).await;
    test.wait_probed().await;
    assert_eq!(test.state(hash), ViewState::Running);
    test.clock.advance(IDLE);
    test.wait_state(hash, ViewState::Stopped).await;
}

#[tokio::test]
async fn the_last_activity_survives_a_restart() {
    let mut test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.clock.advance(7 * SECOND);
    test.manager.touch(hash);
    let used = test.now();
    test.end().await;
    test.clock.advance(100 * SECOND);
    test.restart(Restart::ProcessesEnded).await;
    assert_eq!(test.view(hash).last_activity, used);
}

#[tokio::test]
async fn activity_is_written_every_minute_and_published_every_ten_seconds() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    let published = || test.view(hash).last_activity;
    let mut all_published = std::collections::BTreeSet::new();
    for _ in 0..120 {
        test.clock.advance(SECOND);
        test.manager.touch(hash);
        tokio::time::sleep(Duration::from_millis(6)).await;
        all_published.insert(published());
    }
    // Every ten seconds, and once more after each write.
    assert!(all_published.len() <= 17, "published {} times in two minutes", all_published.len());
    let written = test.backend.calls(BackendCommand::Touch, hash);
    assert!((1..=3).contains(&written), "written {written} times in two minutes");
    let used = test.now();
    test.clock.advance(10 * SECOND);
    test.eventually("the last activity is published", || published() == used).await;
    test.clock.advance(61 * SECOND);
    test.eventually("the last activity is written", || {
        test.backend.status(hash).expect("a session").last_activity == used
    })
    .await;
}

#[tokio::test]
async fn a_failed_stop_leaves_the_session_open_and_is_retried() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.backend.refuse(|command| {
        (command == BackendCommand::Stop).then(|| BackendError::Unavailable("gone".into()))
    });
    test.opencode.hold_status().await;
    test.clock.advance(IDLE);
    // Two probes find no agent at work; then the stop fails; then the next probe begins.
    test.opencode.release_one_status().await;
    test.opencode.release_one_status().await;
    assert_eq!(test.backend.calls(BackendCommand::Stop, hash), 1);
    assert_eq!(test.state(hash), ViewState::Running);
    assert!(test.manager.route(&alice(), hash).is_ok());
    test.opencode.release_status();
    test.backend.refuse_nothing();
    test.wait_state(hash, ViewState::Stopped).await;
}

#[tokio::test]
async fn a_resumed_session_has_the_whole_idle_timeout() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.clock.advance(IDLE);
    test.wait_state(hash, ViewState::Stopped).await;
    test.clock.advance(5 * IDLE);
    test.manager.resume(&alice(), hash, Credentials::NONE).await.expect("resume");
    test.wait_state(hash, ViewState::Running).await;
    test.clock.advance(IDLE - SECOND);
    test.wait_probed().await;
    assert_eq!(test.state(hash), ViewState::Running);
}

#[tokio::test]
async fn a_clock_that_goes_backwards_stops_no_session() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.clock.set(test.now() - 10 * IDLE);
    test.wait_probed().await;
    assert_eq!(test.state(hash), ViewState::Running);
}

#[tokio::test]
async fn a_new_subscriber_sees_the_present_state() {
    let unwatched =
        ManagerSettings { probe_interval_unwatched: Duration::from_secs(3600), ..fast_settings() };
    let test = TestManager::with(unwatched).await;
    let hash = test.create_running("widgets").await;
    for busy in [true, false, true] {
        test.opencode.set_busy(busy);
        test.wait_for(hash, |view| view.busy == busy).await;
    }
}

#[tokio::test]
async fn an_agent_that_starts_work_before_the_stop_keeps_the_session_running() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.opencode.hold_status().await;
    test.clock.advance(IDLE);
    // The first probe finds no agent at work; the second one is the last before the stop.
    test.opencode.release_one_status().await;
    test.opencode.set_busy(true);
    test.opencode.release_status();
    test.wait_probed().await;
    assert_eq!(test.backend.calls(BackendCommand::Stop, hash), 0);
    assert_eq!(test.state(hash), ViewState::Running);
}

#[tokio::test]
async fn a_request_during_the_last_probe_keeps_the_session_running() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.opencode.hold_status().await;
    test.clock.advance(IDLE);
    test.opencode.release_one_status().await;
    test.manager.route(&alice(), hash).expect("a route");
    // Any request counts, whether or not a person sent it.
    test.opencode.release_one_status().await;
    assert_eq!(test.backend.calls(BackendCommand::Stop, hash), 0, "the request is not cut off");
    test.opencode.release_status();
    test.wait_state(hash, ViewState::Stopped).await;
}

#[tokio::test]
async fn no_request_is_routed_while_the_stop_is_written() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.backend.delay_commands(Duration::from_millis(500));
    test.clock.advance(IDLE);
    test.eventually("the stop begins", || test.backend.calls(BackendCommand::Stop, hash) == 1).await;
    assert!(matches!(test.backend.status(hash).expect("a session").phase, Phase::Running(_)));
    assert_eq!(test.manager.route(&alice(), hash), Err(RouteError::NotRunning(ViewState::Stopping)));
    assert_eq!(test.state(hash), ViewState::Stopping);
    test.wait_state(hash, ViewState::Stopped).await;
}

#[tokio::test]
async fn only_the_leader_stops_idle_sessions() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.backend.set_leader(false);
    test.clock.advance(IDLE * 2);
    test.wait_probed().await;
    assert_eq!(test.state(hash), ViewState::Running);
    test.backend.set_leader(true);
    // Activity that other replicas saw may not be written yet.
    test.wait_probed().await;
    assert_eq!(test.backend.calls(BackendCommand::Stop, hash), 0);
    test.clock.advance(2 * ManagerSettings::default().activity_write_interval);
    test.wait_state(hash, ViewState::Stopped).await;
    assert_eq!(test.backend.calls(BackendCommand::Stop, hash), 1);
}

//! What the manager promises to requests that arrive while their session does not run.

use std::{
    future::ready,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pod_manager::{
    BackendError, Credentials, Failure, FailureCode, ManagerError, ManagerSettings, Stage, Token, ViewState,
    Waited, WaitingLimits, WakeError, WakeStart, memory::BackendCommand,
};
use session_key::{Identity, SessionHash};
use tokio::task::JoinHandle;

use crate::test_manager::{TestManager, alice, bob, fast_settings};

fn quiet_start() -> WakeStart {
    WakeStart { credentials: Box::pin(ready(Credentials::default())), report: Box::new(|_| {}) }
}

/// A request of the user that waits until the session runs.
fn hold_as(test: &TestManager, user: Identity, hash: SessionHash) -> JoinHandle<Result<(), WakeError>> {
    let manager = test.manager.clone();
    tokio::spawn(async move { manager.wake_and_wait(&user, hash, quiet_start()).await })
}

fn hold(test: &TestManager, hash: SessionHash) -> JoinHandle<Result<(), WakeError>> {
    hold_as(test, alice(), hash)
}

async fn stopped_session(test: &TestManager, name: &str) -> SessionHash {
    let hash = test.create_running(name).await;
    test.manager.stop(&alice(), hash).await.expect("stop");
    test.wait_state(hash, ViewState::Stopped).await;
    hash
}

fn starts(test: &TestManager, hash: SessionHash) -> usize {
    test.backend.calls(BackendCommand::Start, hash)
}

async fn wait_for_waiting(test: &TestManager, count: usize) {
    test.eventually("so many requests wait", || test.manager.waiting_requests() == count).await;
}

#[tokio::test]
async fn five_hundred_requests_start_a_session_once_and_are_served_when_it_runs() {
    let test = TestManager::new().await;
    let hash = stopped_session(&test, "widgets").await;
    let before = starts(&test, hash);
    test.backend.hold(Stage::Starting);
    let held: Vec<_> = (0..500).map(|_| hold(&test, hash)).collect();
    wait_for_waiting(&test, 500).await;
    test.wait_state(hash, ViewState::Creating).await;
    assert!(held.iter().all(|request| !request.is_finished()));
    test.backend.release(Stage::Starting);
    for request in held {
        request.await.expect("no panic").expect("a running session");
    }
    assert!(test.manager.route(&alice(), hash).is_ok());
    assert_eq!(starts(&test, hash), before + 1);
    assert_eq!(test.manager.waiting_requests(), 0);
}

#[tokio::test]
async fn a_held_request_goes_before_the_routers_own() {
    let test = TestManager::new().await;
    let hash = stopped_session(&test, "widgets").await;
    let opencode = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    opencode.set_nonblocking(true).expect("a listener");
    test.backend.set_endpoint(opencode.local_addr().expect("an address"), None);
    test.backend.hold(Stage::Starting);
    let held = hold(&test, hash);
    wait_for_waiting(&test, 1).await;
    test.backend.release(Stage::Starting);
    held.await.expect("no panic").expect("a running session");
    assert!(opencode.accept().is_err(), "the router's request came first");
    test.eventually("the router asks opencode", || opencode.accept().is_ok()).await;
}

#[tokio::test]
async fn a_start_is_reported_once_and_gets_the_credentials_of_its_request() {
    let test = TestManager::new().await;
    let hash = stopped_session(&test, "widgets").await;
    test.backend.delay_commands(Duration::from_millis(20));
    let reports = Arc::new(AtomicUsize::new(0));
    let wake = || {
        let (manager, reports) = (test.manager.clone(), reports.clone());
        let credentials = Credentials { github_token: Token::parse("a-token"), ..Credentials::default() };
        let credentials = Box::pin(ready(credentials));
        let report = Box::new(move |result: &Result<(), Arc<ManagerError>>| {
            assert!(result.is_ok());
            reports.fetch_add(1, Ordering::SeqCst);
        });
        tokio::spawn(async move { manager.wake(&alice(), hash, WakeStart { credentials, report }).await })
    };
    for request in [wake(), wake(), wake()] {
        request.await.expect("no panic").expect("a recorded start");
    }
    assert_eq!(reports.load(Ordering::SeqCst), 1);
    let credentials = test.backend.credentials(hash).expect("a start");
    assert_eq!(credentials.github_token, Token::parse("a-token"));
}

#[tokio::test]
async fn a_start_goes_on_and_is_reported_if_its_request_goes_away() {
    let test = TestManager::new().await;
    let hash = stopped_session(&test, "widgets").await;
    test.backend.delay_commands(Duration::from_millis(50));
    let (sender, reported) = tokio::sync::oneshot::channel();
    let manager = test.manager.clone();
    let request = tokio::spawn(async move {
        let report = Box::new(move |result: &Result<(), Arc<ManagerError>>| {
            let _ = sender.send(result.is_ok());
        });
        manager
            .wake_and_wait(
                &alice(),
                hash,
                WakeStart { credentials: Box::pin(ready(Credentials::default())), report },
            )
            .await
    });
    wait_for_waiting(&test, 1).await;
    test.eventually("the start is under way", || starts(&test, hash) == 2).await;
    request.abort();
    assert_eq!(reported.await, Ok(true));
    test.wait_state(hash, ViewState::Running).await;
    assert_eq!(test.manager.waiting_requests(), 0);
}

#[tokio::test]
async fn a_request_that_goes_away_frees_its_place_and_the_others_wait_on() {
    let test = TestManager::new().await;
    let hash = stopped_session(&test, "widgets").await;
    test.backend.hold(Stage::Starting);
    let (first, second) = (hold(&test, hash), hold(&test, hash));
    wait_for_waiting(&test, 2).await;
    first.abort();
    wait_for_waiting(&test, 1).await;
    test.backend.release(Stage::Starting);
    second.await.expect("no panic").expect("a running session");
}

#[tokio::test]
async fn requests_that_wait_are_limited_per_session_per_user_and_in_all() {
    let waiting = WaitingLimits { per_session: 2, per_user: 3, total: 4 };
    let test = TestManager::with(ManagerSettings { waiting, ..fast_settings() }).await;
    let (one, two) = (stopped_session(&test, "one").await, stopped_session(&test, "two").await);
    let new = crate::test_manager::repository("bobs", None);
    let bobs = test.manager.create(&bob(), new, Credentials::NONE).await.expect("create").view;
    let bobs = bobs.status.session.hash;
    test.manager.stop(&bob(), bobs).await.expect("stop");
    test.backend.hold(Stage::Starting);
    let refused = |request: JoinHandle<Result<(), WakeError>>| async {
        match request.await.expect("no panic") {
            Err(WakeError::TooManyWaiting(waited)) => waited,
            other => panic!("{other:?}"),
        }
    };
    let _held = [hold(&test, one), hold(&test, one)];
    wait_for_waiting(&test, 2).await;
    assert_eq!(refused(hold(&test, one)).await, Waited::Session);
    let _third = hold(&test, two);
    wait_for_waiting(&test, 3).await;
    assert_eq!(refused(hold(&test, two)).await, Waited::User);
    let bobs_request = hold_as(&test, bob(), bobs);
    wait_for_waiting(&test, 4).await;
    assert_eq!(refused(hold_as(&test, bob(), bobs)).await, Waited::All);
    bobs_request.abort();
    wait_for_waiting(&test, 3).await;
    let _again = hold_as(&test, bob(), bobs);
    wait_for_waiting(&test, 4).await;
}

#[tokio::test]
async fn a_request_waits_for_a_bounded_time() {
    let wake_timeout = Duration::from_millis(50);
    let test = TestManager::with(ManagerSettings { wake_timeout, ..fast_settings() }).await;
    let hash = stopped_session(&test, "widgets").await;
    test.backend.hold(Stage::Starting);
    let result = hold(&test, hash).await.expect("no panic");
    assert!(matches!(result, Err(WakeError::TimedOut(limit)) if limit == wake_timeout), "{result:?}");
    assert_eq!(test.state(hash), ViewState::Creating, "the start goes on");
    assert_eq!(test.manager.waiting_requests(), 0);
}

#[tokio::test]
async fn a_start_that_fails_ends_the_waiting_with_the_reason_and_is_not_repeated() {
    let test = TestManager::new().await;
    let hash = stopped_session(&test, "widgets").await;
    let failure = Failure {
        code: FailureCode::CheckoutFailed,
        message: "The branch could not be checked out.".into(),
        advice: "See the log.".into(),
        log_tail: None,
    };
    test.backend.fail_starts(hash, Some(failure.clone()));
    let before = starts(&test, hash);
    for _ in 0..2 {
        match hold(&test, hash).await.expect("no panic") {
            Err(WakeError::Failed(why)) => assert_eq!(why, failure),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(test.manager.wake(&alice(), hash, quiet_start()).await, Err(WakeError::Failed(_))));
    assert_eq!(starts(&test, hash), before + 1, "a failed session is not started by a request");
}

#[tokio::test]
async fn a_start_that_is_refused_ends_the_waiting_of_all() {
    let test = TestManager::with(ManagerSettings { max_running: Some(1), ..fast_settings() }).await;
    let hash = stopped_session(&test, "one").await;
    test.create_running("two").await;
    let held = [hold(&test, hash), hold(&test, hash)];
    for request in held {
        match request.await.expect("no panic") {
            Err(WakeError::NotStarted(error)) => {
                assert!(matches!(*error, ManagerError::LimitReached { max: 1, .. }));
            }
            other => panic!("{other:?}"),
        }
    }
    test.backend.refuse(|_| Some(BackendError::Unavailable("away".into())));
    assert_eq!(test.state(hash), ViewState::Stopped);
}

#[tokio::test]
async fn requests_to_stopped_sessions_are_limited_like_resumes() {
    let test = TestManager::with(ManagerSettings { max_starts_per_minute: Some(2), ..fast_settings() }).await;
    let hash = stopped_session(&test, "widgets").await;
    hold(&test, hash).await.expect("no panic").expect("the second start of this minute");
    test.manager.stop(&alice(), hash).await.expect("stop");
    test.wait_state(hash, ViewState::Stopped).await;
    match hold(&test, hash).await.expect("no panic") {
        Err(WakeError::NotStarted(error)) => assert!(matches!(*error, ManagerError::TooManyStarts { .. })),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_session_that_stops_is_started_again_once_it_has_stopped() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.backend.hold_stops(true);
    test.manager.stop(&alice(), hash).await.expect("stop");
    assert_eq!(test.state(hash), ViewState::Stopping);
    let request = hold(&test, hash);
    test.eventually("the start is recorded", || starts(&test, hash) == 2).await;
    assert!(!request.is_finished());
    test.backend.hold_stops(false);
    request.await.expect("no panic").expect("a running session");
}

#[tokio::test]
async fn a_stop_ends_the_waiting_and_wins() {
    let test = TestManager::new().await;
    let hash = stopped_session(&test, "widgets").await;
    test.backend.hold(Stage::Starting);
    let request = hold(&test, hash);
    test.wait_state(hash, ViewState::Creating).await;
    test.manager.stop(&alice(), hash).await.expect("stop");
    let result = request.await.expect("no panic");
    assert!(matches!(result, Err(WakeError::Stopped)), "{result:?}");
    assert_eq!(test.state(hash), ViewState::Stopped);
}

#[tokio::test]
async fn another_users_session_and_a_deleted_one_are_not_found() {
    let test = TestManager::new().await;
    let hash = stopped_session(&test, "widgets").await;
    let before = starts(&test, hash);
    let strangers = hold_as(&test, bob(), hash).await.expect("no panic");
    assert!(matches!(strangers, Err(WakeError::NotFound)), "{strangers:?}");
    let strangers = test.manager.wake(&bob(), hash, quiet_start()).await;
    assert!(matches!(strangers, Err(WakeError::NotFound)), "{strangers:?}");
    assert_eq!(starts(&test, hash), before);
    test.backend.hold(Stage::Starting);
    let request = hold(&test, hash);
    test.wait_state(hash, ViewState::Creating).await;
    test.manager.delete(&alice(), hash).await.expect("delete");
    let result = request.await.expect("no panic");
    assert!(matches!(result, Err(WakeError::NotFound)), "{result:?}");
}

#[tokio::test]
async fn waiting_is_no_activity() {
    let test = TestManager::new().await;
    let hash = stopped_session(&test, "widgets").await;
    let before = test.view(hash).last_activity;
    test.clock.advance(Duration::from_secs(3_600));
    hold(&test, hash).await.expect("no panic").expect("a running session");
    assert_eq!(test.view(hash).last_activity, before);
}

//! What the manager's commands and questions promise.

use std::time::Duration;

use pod_manager::{
    BackendError, Credentials, Failure, FailureCode, Limit, Manager, ManagerError, ManagerSettings,
    NewSession, RouteError, Source, Stage, ViewState, memory::BackendCommand,
};
use session_key::{Identity, SessionHash};
use tokio::time::timeout;

use crate::test_manager::{TestManager, alice, bob, fast_settings, repository};

fn failure() -> Failure {
    Failure {
        code: FailureCode::CloneFailed,
        message: "the clone failed".into(),
        advice: "try again".into(),
        log_tail: None,
    }
}

#[tokio::test]
async fn a_created_session_is_visible_at_once() {
    let test = TestManager::new().await;
    test.backend.hold(Stage::Cloning);
    let created = test.create("widgets").await;
    let hash = created.view.status.session.hash;
    assert!(created.new);
    assert_eq!(created.view.state, ViewState::Creating);
    let view = test.view(hash);
    assert_eq!(view.state, ViewState::Creating);
    assert_eq!(test.manager.list(&alice()), [view]);
    assert_eq!(test.manager.route(&alice(), hash), Err(RouteError::NotRunning(ViewState::Creating)));
    test.backend.release(Stage::Cloning);
    test.wait_state(hash, ViewState::Running).await;
}

#[tokio::test]
async fn a_created_session_is_visible_before_the_backend_reports_it() {
    // While the deletion is pending, the backend does not report the new session.
    let test =
        TestManager::with(ManagerSettings { visible_timeout: Duration::from_millis(50), ..fast_settings() })
            .await;
    let hash = test.create_running("widgets").await;
    test.backend.hold_stops(true);
    test.manager.delete(&alice(), hash).await.expect("delete");
    assert_eq!(test.manager.get(&alice(), hash), None, "a deleted session is hidden");
    assert!(test.manager.list(&alice()).is_empty());
    assert_eq!(test.manager.route(&alice(), hash), Err(RouteError::NotFound));
    let created = test.create("widgets").await;
    assert!(created.new);
    assert_eq!(created.view.state, ViewState::Creating);
    let (old, new) = (&test.backend.status(hash).expect("a session").session, &created.view.status.session);
    assert!(old.created_at < new.created_at, "the new session is later, though no time has passed");
    test.backend.hold_stops(false);
    let view = test.wait_state(hash, ViewState::Running).await;
    assert_eq!(view.status.session.created_at, created.view.status.session.created_at);
}

#[tokio::test]
async fn creating_twice_creates_once() {
    let test = TestManager::new().await;
    let first = test.create("widgets").await;
    let second = test.create("widgets").await;
    assert!(first.new && !second.new);
    assert_eq!(first.view.status.session, second.view.status.session);
    assert_eq!(test.manager.list(&alice()).len(), 1);
}

#[tokio::test]
async fn creating_a_stopped_or_failed_session_starts_it_again() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    let stopped = test.manager.stop(&alice(), hash).await.expect("stop");
    assert!(matches!(stopped.state, ViewState::Stopping | ViewState::Stopped));
    test.wait_state(hash, ViewState::Stopped).await;
    test.backend.fail_starts(hash, Some(failure()));
    let again = test.create("widgets").await;
    assert!(!again.new);
    test.wait_state(hash, ViewState::Failed).await;
    test.backend.fail_starts(hash, None);
    let again = test.create("widgets").await;
    assert!(!again.new);
    assert!(matches!(again.view.state, ViewState::Creating | ViewState::Running));
    test.wait_state(hash, ViewState::Running).await;
}

#[tokio::test]
async fn each_creation_without_a_repository_is_a_new_session() {
    let test = TestManager::new().await;
    let new = || NewSession { source: Source::Empty, initial_message: None };
    let one = test.manager.create(&alice(), new(), Credentials::NONE).await.expect("create");
    let two = test.manager.create(&alice(), new(), Credentials::NONE).await.expect("create");
    assert_ne!(one.view.status.session.hash, two.view.status.session.hash);
    assert_eq!(test.manager.list(&alice()).len(), 2);
}

#[tokio::test]
async fn a_running_session_is_routed_to_its_endpoint() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    let endpoint = test.manager.route(&alice(), hash).expect("a route");
    assert_eq!(endpoint.address, test.opencode.address());
    assert_eq!(endpoint.password.expect("a password").expose(), "geheim");
    test.manager.stop(&alice(), hash).await.expect("stop");
    assert!(matches!(test.manager.route(&alice(), hash), Err(RouteError::NotRunning(_))));
}

#[tokio::test]
async fn another_users_session_is_not_found() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    let manager = &test.manager;
    assert_eq!(manager.get(&bob(), hash), None);
    assert!(manager.list(&bob()).is_empty());
    assert_eq!(manager.route(&bob(), hash), Err(RouteError::NotFound));
    assert!(matches!(manager.stop(&bob(), hash).await, Err(ManagerError::NotFound)));
    assert!(matches!(manager.resume(&bob(), hash, Credentials::NONE).await, Err(ManagerError::NotFound)));
    assert!(matches!(manager.delete(&bob(), hash).await, Err(ManagerError::NotFound)));
    assert!(matches!(manager.logs(&bob(), hash, 10).await, Err(ManagerError::NotFound)));
    assert!(matches!(manager.unsaved_work(&bob(), hash).await, Err(ManagerError::NotFound)));
    assert_eq!(manager.get(&alice(), hash).expect("hers").state, ViewState::Running);
    let nowhere = SessionHash::from_bytes([1; 6]);
    assert!(matches!(manager.stop(&alice(), nowhere).await, Err(ManagerError::NotFound)));
    assert_eq!(test.backend.calls(BackendCommand::Stop, nowhere), 0);
}

#[tokio::test]
async fn the_most_recently_used_session_is_listed_first() {
    let test = TestManager::new().await;
    let mut hashes = Vec::new();
    for name in ["one", "two", "three"] {
        hashes.push(test.create_running(name).await);
        test.clock.advance(Duration::from_secs(60));
    }
    test.manager.touch(hashes[0]);
    let used = test.now();
    test.wait_for(hashes[0], |view| view.last_activity == used).await;
    let order: Vec<_> = test.manager.list(&alice()).iter().map(|view| view.status.session.hash).collect();
    assert_eq!(order, [hashes[0], hashes[2], hashes[1]]);
}

#[tokio::test]
async fn a_subscription_reports_only_the_users_changes_and_many_as_one() {
    let test = TestManager::new().await;
    let (mut of_alice, mut of_bob) = (test.manager.subscribe(&alice()), test.manager.subscribe(&bob()));
    test.create_running("widgets").await;
    test.create_running("gadgets").await;
    timeout(Duration::from_secs(5), of_alice.changed()).await.expect("a change");
    let quiet = async {
        // A late change (a title, say) may be reported; the earlier changes are not reported one by one.
        for _ in 0..8 {
            of_alice.changed().await;
        }
    };
    assert!(timeout(Duration::from_millis(200), quiet).await.is_err(), "many changes are one");
    assert!(timeout(Duration::from_millis(10), of_bob.changed()).await.is_err(), "no change of his");
}

#[tokio::test]
async fn backend_errors_are_returned_and_nothing_is_shown() {
    let test = TestManager::new().await;
    test.backend
        .refuse(|command| (command == BackendCommand::Start).then(|| BackendError::DiskFull("/data".into())));
    let refused = test.manager.create(&alice(), repository("widgets", None), Credentials::NONE).await;
    assert!(matches!(refused, Err(ManagerError::DiskFull)));
    assert!(test.manager.list(&alice()).is_empty(), "nothing was created");
    test.backend.refuse(|_| Some(BackendError::Unavailable("gone".into())));
    let refused = test.manager.create(&alice(), repository("widgets", None), Credentials::NONE).await;
    assert!(matches!(refused, Err(ManagerError::Unavailable(_))));
    test.backend.refuse_nothing();
    test.create_running("widgets").await;
}

#[tokio::test]
async fn limits_per_user_hold_for_concurrent_commands() {
    let settings = ManagerSettings { max_sessions: Some(3), max_running: Some(2), ..fast_settings() };
    let test = TestManager::with(settings).await;
    test.backend.delay_commands(Duration::from_millis(2));
    let names: Vec<_> = (0..8).map(|number| format!("repo-{number}")).collect();
    let user = alice();
    let all = names.iter().map(|name| test.manager.create(&user, repository(name, None), Credentials::NONE));
    let results = futures_util::future::join_all(all).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 2);
    for result in results.into_iter().filter(Result::is_err) {
        assert!(matches!(result, Err(ManagerError::LimitReached { limit: Limit::Running, max: 2 })));
    }
    let hash = test.manager.list(&alice())[0].status.session.hash;
    test.wait_state(hash, ViewState::Running).await;
    test.manager.stop(&alice(), hash).await.expect("stop");
    test.wait_state(hash, ViewState::Stopped).await;
    test.create_running("third").await;
    let refused = test.manager.create(&alice(), repository("fourth", None), Credentials::NONE).await;
    assert!(matches!(refused, Err(ManagerError::LimitReached { limit: Limit::Kept, max: 3 })));
    let refused = test.manager.resume(&alice(), hash, Credentials::NONE).await;
    assert!(matches!(refused, Err(ManagerError::LimitReached { limit: Limit::Running, max: 2 })));
    test.manager
        .create(&bob(), repository("widgets", None), Credentials::NONE)
        .await
        .expect("another user has limits of their own");
}

#[tokio::test]
async fn commands_are_refused_until_the_sessions_are_known() {
    let test = TestManager::new().await;
    let manager =
        Manager::new(test.backend.clone(), test.backend.clone(), test.clock.clone(), fast_settings());
    assert!(!manager.is_ready());
    let refused = manager.create(&alice(), repository("widgets", None), Credentials::NONE).await;
    assert!(matches!(refused, Err(ManagerError::Unavailable(_))));
}

#[tokio::test]
async fn sessions_are_counted_by_state() {
    let test = TestManager::new().await;
    test.create_running("one").await;
    let two = test.create_running("two").await;
    test.manager.stop(&alice(), two).await.expect("stop");
    test.wait_state(two, ViewState::Stopped).await;
    let counts: Vec<_> = test.manager.counts().into_iter().map(|(_, count)| count).collect();
    assert_eq!(counts, [0, 1, 0, 1, 0]);
}

/// A manager that allows this many starts per minute, whose sessions stay `Creating`.
async fn limited_to(max_starts_per_minute: u32) -> TestManager {
    let settings = ManagerSettings { max_starts_per_minute: Some(max_starts_per_minute), ..fast_settings() };
    let test = TestManager::with(settings).await;
    test.backend.hold(Stage::Cloning);
    test
}

#[tokio::test]
async fn starts_per_minute_are_limited_for_each_user() {
    let test = limited_to(3).await;
    let create = async |user: Identity, number: u32| {
        let new = repository(&format!("repo-{number}"), None);
        test.manager.create(&user, new, Credentials::NONE).await
    };
    for number in 0..3 {
        create(alice(), number).await.expect("within the limit");
    }
    match create(alice(), 3).await {
        Err(ManagerError::TooManyStarts { max_per_minute: 3, retry_after }) => {
            assert!(retry_after <= Duration::from_secs(20), "{retry_after:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(test.manager.list(&alice()).len(), 3, "nothing was created");
    create(bob(), 0).await.expect("another user has starts of their own");
}

#[tokio::test]
async fn asking_again_for_a_session_that_starts_or_runs_is_free() {
    let test = limited_to(1).await;
    let hash = test.create("widgets").await.view.status.session.hash;
    for _ in 0..5 {
        assert!(!test.create("widgets").await.new);
        test.manager.resume(&alice(), hash, Credentials::NONE).await.expect("resume");
    }
    test.backend.release(Stage::Cloning);
    test.wait_state(hash, ViewState::Running).await;
    for _ in 0..5 {
        assert!(!test.create("widgets").await.new);
        test.manager.resume(&alice(), hash, Credentials::NONE).await.expect("resume");
    }
}

#[tokio::test]
async fn a_resume_of_a_stopped_session_counts_as_a_start() {
    let test = limited_to(1).await;
    let hash = test.create("widgets").await.view.status.session.hash;
    test.manager.stop(&alice(), hash).await.expect("stop");
    test.wait_state(hash, ViewState::Stopped).await;
    let refused = test.manager.resume(&alice(), hash, Credentials::NONE).await;
    assert!(matches!(refused, Err(ManagerError::TooManyStarts { .. })), "{refused:?}");
    let refused = test.manager.create(&alice(), repository("widgets", None), Credentials::NONE).await;
    assert!(matches!(refused, Err(ManagerError::TooManyStarts { .. })), "{refused:?}");
    assert_eq!(test.backend.calls(BackendCommand::Start, hash), 1);
}

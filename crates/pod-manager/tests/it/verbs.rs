//! What the manager's verbs and questions promise.

use std::time::Duration;

use pod_manager::{
    BackendError, Credentials, Failure, FailureCode, Limit, ManagerError, ManagerSettings, NewSession,
    RouteError, Source, Stage, ViewState, memory::Verb,
};
use session_key::{Identity, SessionHash};
use tokio::time::timeout;

use crate::house::{House, alice, bob, quick, repository};

fn failure() -> Failure {
    Failure {
        code: FailureCode::CloneFailed,
        message: "the clone failed".into(),
        advice: "try again".into(),
        log_tail: None,
    }
}

#[tokio::test]
async fn what_was_created_is_seen_at_once() {
    let house = House::new().await;
    house.backend.hold(Stage::Cloning);
    let created = house.create("widgets").await;
    let hash = created.view.status.session.hash;
    assert!(created.new);
    assert_eq!(created.view.state, ViewState::Creating);
    let seen = house.manager.get(&alice(), hash).expect("it is there");
    assert_eq!(seen.state, ViewState::Creating);
    assert_eq!(house.manager.list(&alice()), [seen]);
    assert_eq!(house.manager.route(&alice(), hash), Err(RouteError::NotRunning(ViewState::Creating)));
    house.backend.release(Stage::Cloning);
    house.until(hash, ViewState::Running).await;
}

#[tokio::test]
async fn what_was_created_is_seen_though_the_backend_tells_nothing_yet() {
    // A deletion that does not end keeps the new session from being told of.
    let house = House::with(ManagerSettings { visible_timeout: Duration::from_millis(50), ..quick() }).await;
    let hash = house.running("widgets").await;
    house.backend.hold_stops(true);
    house.manager.delete(&alice(), hash).await.expect("delete");
    assert_eq!(house.manager.get(&alice(), hash), None, "what was deleted is not seen");
    assert!(house.manager.list(&alice()).is_empty());
    assert_eq!(house.manager.route(&alice(), hash), Err(RouteError::NotFound));
    let created = house.create("widgets").await;
    assert!(created.new);
    assert_eq!(created.view.state, ViewState::Creating);
    let (old, new) =
        (&house.backend.observed(hash).expect("it is there").session, &created.view.status.session);
    assert!(old.created_at < new.created_at, "the two can be told apart, though no time has passed");
    house.backend.hold_stops(false);
    let seen = house.until(hash, ViewState::Running).await;
    assert_eq!(seen.status.session.created_at, created.view.status.session.created_at);
}

#[tokio::test]
async fn creating_twice_creates_once() {
    let house = House::new().await;
    let first = house.create("widgets").await;
    let second = house.create("widgets").await;
    assert!(first.new && !second.new);
    assert_eq!(first.view.status.session, second.view.status.session);
    assert_eq!(house.manager.list(&alice()).len(), 1);
}

#[tokio::test]
async fn creating_what_is_stopped_or_failed_starts_it_again() {
    let house = House::new().await;
    let hash = house.running("widgets").await;
    let stopped = house.manager.stop(&alice(), hash).await.expect("stop");
    assert!(matches!(stopped.state, ViewState::Stopping | ViewState::Stopped));
    house.until(hash, ViewState::Stopped).await;
    house.backend.fail_starts(hash, Some(failure()));
    let again = house.create("widgets").await;
    assert!(!again.new);
    house.until(hash, ViewState::Failed).await;
    house.backend.fail_starts(hash, None);
    let again = house.create("widgets").await;
    assert!(!again.new);
    assert!(matches!(again.view.state, ViewState::Creating | ViewState::Running));
    house.until(hash, ViewState::Running).await;
}

#[tokio::test]
async fn a_project_without_a_repository_is_another_one_each_time() {
    let house = House::new().await;
    let new = || NewSession { source: Source::Empty, initial_message: None };
    let one = house.manager.create(&alice(), new(), Credentials::NONE).await.expect("create");
    let two = house.manager.create(&alice(), new(), Credentials::NONE).await.expect("create");
    assert_ne!(one.view.status.session.hash, two.view.status.session.hash);
    assert_eq!(house.manager.list(&alice()).len(), 2);
}

#[tokio::test]
async fn a_session_is_routed_to_where_it_runs() {
    let house = House::new().await;
    let hash = house.running("widgets").await;
    let endpoint = house.manager.route(&alice(), hash).expect("a route");
    assert_eq!(endpoint.address, house.opencode.address());
    assert_eq!(endpoint.password.expect("it has one").expose(), "geheim");
    house.manager.stop(&alice(), hash).await.expect("stop");
    assert!(matches!(house.manager.route(&alice(), hash), Err(RouteError::NotRunning(_))));
}

#[tokio::test]
async fn anothers_session_is_as_one_that_is_not_there() {
    let house = House::new().await;
    let hash = house.running("widgets").await;
    let manager = &house.manager;
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
    assert_eq!(house.backend.calls(Verb::Stop, nowhere), 0);
}

#[tokio::test]
async fn the_session_used_last_comes_first() {
    let house = House::new().await;
    let mut hashes = Vec::new();
    for name in ["one", "two", "three"] {
        hashes.push(house.running(name).await);
        house.clock.advance(Duration::from_secs(60));
    }
    house.manager.touch(hashes[0]);
    let used = house.clock_now();
    house.when(hashes[0], |view| view.last_activity == used).await;
    let order: Vec<_> = house.manager.list(&alice()).iter().map(|view| view.status.session.hash).collect();
    assert_eq!(order, [hashes[0], hashes[2], hashes[1]]);
}

#[tokio::test]
async fn changes_of_others_are_not_told_and_many_are_told_as_one() {
    let house = House::new().await;
    let (mut hers, mut his) = (house.manager.subscribe(&alice()), house.manager.subscribe(&bob()));
    house.running("widgets").await;
    house.running("gadgets").await;
    timeout(Duration::from_secs(5), hers.changed()).await.expect("she is told");
    let quiet = async {
        // What is still under way (a title, say) may be told; but not once for each of the changes before.
        for _ in 0..8 {
            hers.changed().await;
        }
    };
    assert!(timeout(Duration::from_millis(200), quiet).await.is_err(), "many changes are one");
    assert!(timeout(Duration::from_millis(10), his.changed()).await.is_err(), "he is not told");
}

#[tokio::test]
async fn what_the_backend_can_not_do_is_said() {
    let house = House::new().await;
    house.backend.refuse(|verb| (verb == Verb::Start).then(|| BackendError::DiskFull("/data".into())));
    let refused = house.manager.create(&alice(), repository("widgets", None), Credentials::NONE).await;
    assert!(matches!(refused, Err(ManagerError::DiskFull)));
    assert!(house.manager.list(&alice()).is_empty(), "nothing is shown that is not there");
    house.backend.refuse(|_| Some(BackendError::Unavailable("gone".into())));
    let refused = house.manager.create(&alice(), repository("widgets", None), Credentials::NONE).await;
    assert!(matches!(refused, Err(ManagerError::Unavailable(_))));
    house.backend.refuse_nothing();
    house.running("widgets").await;
}

#[tokio::test]
async fn a_user_may_have_so_many_and_no_more_also_at_once() {
    let settings = ManagerSettings { max_sessions: Some(3), max_running: Some(2), ..quick() };
    let house = House::with(settings).await;
    house.backend.slow_verbs(Duration::from_millis(2));
    let names: Vec<_> = (0..8).map(|number| format!("repo-{number}")).collect();
    let her = alice();
    let all = names.iter().map(|name| house.manager.create(&her, repository(name, None), Credentials::NONE));
    let results = futures_util::future::join_all(all).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 2);
    for result in results.into_iter().filter(Result::is_err) {
        assert!(matches!(result, Err(ManagerError::LimitReached { limit: Limit::Running, max: 2 })));
    }
    let hash = house.manager.list(&alice())[0].status.session.hash;
    house.until(hash, ViewState::Running).await;
    house.manager.stop(&alice(), hash).await.expect("stop");
    house.until(hash, ViewState::Stopped).await;
    house.running("third").await;
    let refused = house.manager.create(&alice(), repository("fourth", None), Credentials::NONE).await;
    assert!(matches!(refused, Err(ManagerError::LimitReached { limit: Limit::Kept, max: 3 })));
    let refused = house.manager.resume(&alice(), hash, Credentials::NONE).await;
    assert!(matches!(refused, Err(ManagerError::LimitReached { limit: Limit::Running, max: 2 })));
    house
        .manager
        .create(&bob(), repository("widgets", None), Credentials::NONE)
        .await
        .expect("another user has room");
}

#[tokio::test]
async fn nothing_is_made_before_it_is_known_what_there_is() {
    let house = House::new().await;
    let manager =
        pod_manager::Manager::new(house.backend.clone(), house.backend.clone(), house.clock.clone(), quick());
    assert!(!manager.is_ready());
    let refused = manager.create(&alice(), repository("widgets", None), Credentials::NONE).await;
    assert!(matches!(refused, Err(ManagerError::Unavailable(_))));
}

#[tokio::test]
async fn statuses_are_counted() {
    let house = House::new().await;
    house.running("one").await;
    let two = house.running("two").await;
    house.manager.stop(&alice(), two).await.expect("stop");
    house.until(two, ViewState::Stopped).await;
    let counts: Vec<_> = house.manager.counts().into_iter().map(|(_, count)| count).collect();
    assert_eq!(counts, [0, 1, 0, 1, 0]);
}

/// A manager that allows this many starts per minute, whose sessions stay `Creating`.
async fn limited_to(max_starts_per_minute: u32) -> House {
    let settings = ManagerSettings { max_starts_per_minute: Some(max_starts_per_minute), ..quick() };
    let house = House::with(settings).await;
    house.backend.hold(Stage::Cloning);
    house
}

#[tokio::test]
async fn a_user_starts_only_so_many_sessions_per_minute() {
    let house = limited_to(3).await;
    let create = async |user: Identity, number: u32| {
        let new = repository(&format!("repo-{number}"), None);
        house.manager.create(&user, new, Credentials::NONE).await
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
    assert_eq!(house.manager.list(&alice()).len(), 3, "nothing was created");
    create(bob(), 0).await.expect("another user has starts of their own");
}

#[tokio::test]
async fn asking_again_for_a_session_that_starts_or_runs_is_free() {
    let house = limited_to(1).await;
    let hash = house.create("widgets").await.view.status.session.hash;
    for _ in 0..5 {
        assert!(!house.create("widgets").await.new);
        house.manager.resume(&alice(), hash, Credentials::NONE).await.expect("resume");
    }
    house.backend.release(Stage::Cloning);
    house.until(hash, ViewState::Running).await;
    for _ in 0..5 {
        assert!(!house.create("widgets").await.new);
        house.manager.resume(&alice(), hash, Credentials::NONE).await.expect("resume");
    }
}

#[tokio::test]
async fn a_resume_of_a_stopped_session_counts_as_a_start() {
    let house = limited_to(1).await;
    let hash = house.create("widgets").await.view.status.session.hash;
    house.manager.stop(&alice(), hash).await.expect("stop");
    house.until(hash, ViewState::Stopped).await;
    let refused = house.manager.resume(&alice(), hash, Credentials::NONE).await;
    assert!(matches!(refused, Err(ManagerError::TooManyStarts { .. })), "{refused:?}");
    let refused = house.manager.create(&alice(), repository("widgets", None), Credentials::NONE).await;
    assert!(matches!(refused, Err(ManagerError::TooManyStarts { .. })), "{refused:?}");
    assert_eq!(house.backend.calls(Verb::Start, hash), 1);
}

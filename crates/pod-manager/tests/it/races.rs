//! Concurrent commands and requests.

use std::{sync::Arc, time::Duration};

use pod_manager::{Credentials, Phase, RouteError, ViewState, memory::Restart};
use rand::RngExt;
use tokio::{task::JoinSet, time::timeout};

use crate::test_manager::{IDLE, TestManager, alice, repository};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_commands_on_one_session_end_in_a_consistent_state() {
    let test = TestManager::new().await;
    test.backend.delay_commands(Duration::from_micros(300));
    let hash = test.create("widgets").await.view.status.session.hash;
    for _ in 0..5 {
        let mut commands = JoinSet::new();
        for _ in 0..40 {
            let manager = test.manager.clone();
            commands.spawn(async move {
                let (choice, limit) = {
                    let mut rng = rand::rng();
                    (rng.random_range(0..4), Duration::from_micros(rng.random_range(100..20_000)))
                };
                let command = async {
                    match choice {
                        0 => manager
                            .create(&alice(), repository("widgets", None), Credentials::NONE)
                            .await
                            .map(drop),
                        1 => manager.resume(&alice(), hash, Credentials::NONE).await.map(drop),
                        2 => manager.stop(&alice(), hash).await.map(drop),
                        _ => manager.delete(&alice(), hash).await,
                    }
                };
                // Some are cancelled half-way, as when a browser disconnects.
                let _ = timeout(limit, command).await;
            });
        }
        while let Some(result) = commands.join_next().await {
            result.expect("no panic");
        }
        // The last command wins, and the manager and the backend agree.
        test.create("widgets").await;
        test.wait_state(hash, ViewState::Running).await;
        assert_eq!(test.backend.processes(hash), 1);
        let endpoint = test.manager.route(&alice(), hash).expect("a route");
        let status = test.backend.status(hash).expect("a session");
        assert_eq!(status.phase, Phase::Running(endpoint));
    }
    test.manager.delete(&alice(), hash).await.expect("delete");
    assert!(test.backend.status(hash).is_none());
    assert!(test.manager.list(&alice()).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_creations_create_once() {
    let test = TestManager::new().await;
    test.backend.delay_commands(Duration::from_millis(2));
    let mut all = JoinSet::new();
    for _ in 0..32 {
        let manager = test.manager.clone();
        all.spawn(async move {
            manager.create(&alice(), repository("widgets", None), Credentials::NONE).await.expect("create")
        });
    }
    let created = all.join_all().await;
    assert_eq!(created.iter().filter(|created| created.new).count(), 1, "one call creates");
    assert_eq!(test.manager.list(&alice()).len(), 1);
    test.wait_state(created[0].view.status.session.hash, ViewState::Running).await;
    assert_eq!(test.opencode.conversations().len(), 1, "one conversation");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_is_routed_once_a_stop_is_decided() {
    // Requests arrive at the idle timeout: one that is routed before the decision keeps the session running,
    // one after it is refused.
    for _ in 0..20 {
        let test = TestManager::new().await;
        let hash = test.create_running("widgets").await;
        let manager = Arc::clone(&test.manager);
        test.clock.advance(IDLE);
        let requests = tokio::spawn(async move {
            loop {
                match manager.route(&alice(), hash) {
                    Ok(_) => {}
                    Err(RouteError::NotRunning(state)) => return state,
                    Err(RouteError::NotFound) => panic!("the session exists"),
                }
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
        });
        let state = timeout(Duration::from_secs(20), requests).await.expect("in time").expect("no panic");
        assert!(matches!(state, ViewState::Stopping | ViewState::Stopped), "{state:?}");
        // Once refused, always refused.
        assert!(matches!(test.manager.route(&alice(), hash), Err(RouteError::NotRunning(_))));
        test.wait_state(hash, ViewState::Stopped).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_sessions_survive_a_restart() {
    let mut test = TestManager::new().await;
    let mut hashes = Vec::new();
    for number in 0..30 {
        hashes.push(test.create(&format!("repo-{number}")).await.view.status.session.hash);
    }
    for hash in &hashes {
        test.wait_state(*hash, ViewState::Running).await;
    }
    test.restart(Restart::ProcessesEnded).await;
    assert_eq!(test.manager.list(&alice()).len(), 30);
    let alice = alice();
    let all = hashes.iter().map(|hash| test.manager.resume(&alice, *hash, Credentials::NONE));
    for resumed in futures_util::future::join_all(all).await {
        resumed.expect("resume");
    }
    for hash in &hashes {
        test.wait_state(*hash, ViewState::Running).await;
    }
}

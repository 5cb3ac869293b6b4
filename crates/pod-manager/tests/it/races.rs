//! Many at once.

use std::{sync::Arc, time::Duration};

use pod_manager::{Credentials, RouteError, ViewState, memory::Restart};
use rand::RngExt;
use tokio::{task::JoinSet, time::timeout};

use crate::house::{House, IDLE, alice, repository};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_of_verbs_on_one_session_ends_in_a_consistent_state() {
    let house = House::new().await;
    house.backend.slow_verbs(Duration::from_micros(300));
    let hash = house.create("widgets").await.view.status.session.hash;
    for _ in 0..5 {
        let mut storm = JoinSet::new();
        for _ in 0..40 {
            let manager = house.manager.clone();
            storm.spawn(async move {
                let (choice, patience) = {
                    let mut rng = rand::rng();
                    (rng.random_range(0..4), Duration::from_micros(rng.random_range(100..20_000)))
                };
                let verb = async {
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
                // Some are given up half-way, as when a browser goes away.
                let _ = timeout(patience, verb).await;
            });
        }
        while let Some(done) = storm.join_next().await {
            done.expect("without a panic");
        }
        // The last word is obeyed, and the manager and the backend say the same.
        house.create("widgets").await;
        house.until(hash, ViewState::Running).await;
        assert_eq!(house.backend.processes(hash), 1);
        let endpoint = house.manager.route(&alice(), hash).expect("a route");
        let observed = house.backend.observed(hash).expect("it is there");
        assert_eq!(observed.phase, pod_manager::Phase::Running(endpoint));
    }
    house.manager.delete(&alice(), hash).await.expect("delete");
    assert!(house.backend.observed(hash).is_none());
    assert!(house.manager.list(&alice()).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn creating_at_once_creates_once() {
    let house = House::new().await;
    house.backend.slow_verbs(Duration::from_millis(2));
    let mut all = JoinSet::new();
    for _ in 0..32 {
        let manager = house.manager.clone();
        all.spawn(async move {
            manager.create(&alice(), repository("widgets", None), Credentials::NONE).await.expect("create")
        });
    }
    let created = all.join_all().await;
    assert_eq!(created.iter().filter(|one| one.new).count(), 1, "it is new for one of them");
    assert_eq!(house.manager.list(&alice()).len(), 1);
    house.until(created[0].view.status.session.hash, ViewState::Running).await;
    assert_eq!(house.opencode.conversations().len(), 1, "greeted once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_is_let_in_once_it_was_decided_to_stop() {
    // Requests come as the timeout does: whoever was let in and counted keeps the session; whoever comes after the
    // decision is refused.
    for _ in 0..20 {
        let house = House::new().await;
        let hash = house.running("widgets").await;
        let manager = Arc::clone(&house.manager);
        house.clock.advance(IDLE);
        let requests = tokio::spawn(async move {
            let mut let_in = 0;
            loop {
                match manager.route(&alice(), hash) {
                    Ok(_) => let_in += 1,
                    Err(RouteError::NotRunning(status)) => return (let_in, status),
                    Err(RouteError::NotFound) => panic!("it is there"),
                }
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
        });
        let (_, status) =
            timeout(Duration::from_secs(20), requests).await.expect("in time").expect("no panic");
        assert!(matches!(status, ViewState::Stopping | ViewState::Stopped), "{status:?}");
        // Once refused, always refused: it does not flicker.
        assert!(matches!(house.manager.route(&alice(), hash), Err(RouteError::NotRunning(_))));
        house.until(hash, ViewState::Stopped).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_sessions_survive_a_restart() {
    let mut house = House::new().await;
    let mut hashes = Vec::new();
    for number in 0..30 {
        hashes.push(house.create(&format!("repo-{number}")).await.view.status.session.hash);
    }
    for hash in &hashes {
        house.until(*hash, ViewState::Running).await;
    }
    house.restart(Restart::ProcessesEnded).await;
    assert_eq!(house.manager.list(&alice()).len(), 30);
    let alice = alice();
    let all = hashes.iter().map(|hash| house.manager.resume(&alice, *hash, Credentials::NONE));
    for resumed in futures_util::future::join_all(all).await {
        resumed.expect("resume");
    }
    for hash in &hashes {
        house.until(*hash, ViewState::Running).await;
    }
}

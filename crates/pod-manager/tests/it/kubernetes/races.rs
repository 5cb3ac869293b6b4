//! Several routers at one cluster, and changes by somebody else.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use kube::{ResourceExt, api::DeleteParams};
use pod_manager::{
    Credentials, KubernetesBackend, SessionBackend,
    contract::WatchProbe,
    model::{Phase, Session, StopReason},
};
use tokio::time::sleep;

use super::{cluster::TEST_TIMEOUT, contract::TestCluster};

async fn start(backend: &Arc<KubernetesBackend>, session: &Session) {
    backend.start(session, Credentials::NONE).await.expect("start");
}

async fn end(backends: &[Arc<KubernetesBackend>]) {
    join_all(backends.iter().map(|backend| backend.shutdown())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routers_that_start_a_session_at_once_start_it_once() {
    let Some(test) = TestCluster::new().await else { return };
    let backends: Vec<_> = (0..4).map(|_| test.backend()).collect();
    let session = test.session();
    for result in join_all((0..12).map(|n| backends[n % 4].start(&session, Credentials::NONE))).await {
        result.expect("start");
    }
    let runs: Vec<_> =
        join_all(backends.iter().map(|backend| async {
            WatchProbe::new(&**backend, TEST_TIMEOUT).wait_running(session.hash).await
        }))
        .await;
    assert!(runs.iter().all(|run| *run == runs[0]), "all see the same one: {runs:?}");
    assert_eq!(test.node.max_process_count(session.hash), 1);
    assert_eq!(test.objects(session.hash).await, [1, 1, 1]);
    end(&backends).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_commands_on_several_routers_end_in_the_last_desired_state() {
    let Some(test) = TestCluster::new().await else { return };
    let backends: Vec<_> = (0..3).map(|_| test.backend()).collect();
    let session = test.session();
    for round in 0..3 {
        let verb = async |number: usize| {
            let backend = &backends[(number + round) % 3];
            match number % 4 {
                0 | 1 => backend.start(&session, Credentials::NONE).await,
                2 => backend.stop(session.hash, StopReason::Requested).await,
                _ => backend.delete(session.hash).await,
            }
        };
        for result in join_all((0..18).map(verb)).await {
            result.expect("every verb is success");
        }
        start(&backends[round], &session).await;
        let runs: Vec<_> = join_all(backends.iter().map(|backend| async {
            WatchProbe::new(&**backend, TEST_TIMEOUT).wait_running(session.hash).await
        }))
        .await;
        assert!(runs.iter().all(|run| *run == runs[0]), "all see the same one: {runs:?}");
        assert_eq!(test.node.max_process_count(session.hash), 1, "two at once");
    }
    backends[1].delete(session.hash).await.expect("delete");
    for backend in &backends {
        WatchProbe::new(&**backend, TEST_TIMEOUT).wait_removed(session.hash).await;
    }
    end(&backends).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_router_continues_whenever_one_is_killed() {
    let Some(test) = TestCluster::new().await else { return };
    let survivor = test.backend();
    for millis in [0, 1, 2, 4, 8, 12, 16, 24, 40, 80] {
        let session = test.session();
        let killed = test.backend();
        WatchProbe::new(&*killed, TEST_TIMEOUT).next().await;
        start(&killed, &session).await;
        sleep(Duration::from_millis(millis)).await;
        // Its tasks end wherever they are.
        drop(killed);
        WatchProbe::new(&*survivor, TEST_TIMEOUT).wait_running(session.hash).await;

        let killed = test.backend();
        WatchProbe::new(&*killed, TEST_TIMEOUT).wait_running(session.hash).await;
        killed.stop(session.hash, StopReason::Requested).await.expect("stop");
        drop(killed);
        WatchProbe::new(&*survivor, TEST_TIMEOUT).wait_stopped(session.hash).await;

        let killed = test.backend();
        WatchProbe::new(&*killed, TEST_TIMEOUT).next().await;
        killed.delete(session.hash).await.expect("delete");
        drop(killed);
        WatchProbe::new(&*survivor, TEST_TIMEOUT).wait_removed(session.hash).await;
        assert_eq!(test.node.max_process_count(session.hash), 1);
    }
    survivor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_on_one_router_waits_for_a_stop_on_another() {
    let Some(test) = TestCluster::new().await else { return };
    test.node.set_grace_period(Duration::from_millis(400));
    let backends: Vec<_> = (0..2).map(|_| test.backend()).collect();
    let session = test.session();
    start(&backends[0], &session).await;
    let first = WatchProbe::new(&*backends[1], TEST_TIMEOUT).wait_running(session.hash).await;
    backends[0].stop(session.hash, StopReason::Idle).await.expect("stop");
    start(&backends[1], &session).await;
    let another = |seen: &pod_manager::model::SessionStatus| matches!(&seen.phase, Phase::Running(e) if e.run_id != first.run_id);
    for backend in &backends {
        WatchProbe::new(&**backend, TEST_TIMEOUT).wait_for(session.hash, "running again", another).await;
    }
    assert_eq!(test.node.max_process_count(session.hash), 1);
    end(&backends).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_somebody_else_deletes_is_created_again() {
    let Some(test) = TestCluster::new().await else { return };
    let backend = test.backend();
    let session = test.session();
    start(&backend, &session).await;
    let mut probe = WatchProbe::new(&*backend, TEST_TIMEOUT);
    for _ in 0..3 {
        let run = probe.wait_running(session.hash).await;
        let name = format!("opencode-session-{}", session.hash);
        test.node.pods().delete(&name, &DeleteParams::default()).await.expect("delete");
        let another = |seen: &pod_manager::model::SessionStatus| matches!(&seen.phase, Phase::Running(e) if e.run_id != run.run_id);
        probe.wait_for(session.hash, "running again", another).await;
    }
    assert_eq!(test.node.max_process_count(session.hash), 1);
    end(&[backend]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_somebody_else_deletes_ends_the_session() {
    let Some(test) = TestCluster::new().await else { return };
    let backend = test.backend();
    let session = test.session();
    start(&backend, &session).await;
    let mut probe = WatchProbe::new(&*backend, TEST_TIMEOUT);
    probe.wait_running(session.hash).await;
    let name = format!("opencode-pvc-{}", session.hash);
    test.node.pvcs().delete(&name, &DeleteParams::default()).await.expect("delete");
    probe.wait_removed(session.hash).await;
    start(&backend, &session).await;
    probe.wait_running(session.hash).await;
    end(&[backend]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_never_used_by_a_later_session() {
    let Some(test) = TestCluster::new().await else { return };
    let backend = test.backend();
    let session = test.session();
    let mut probe = WatchProbe::new(&*backend, TEST_TIMEOUT);
    let mut passwords = Vec::new();
    for _ in 0..3 {
        start(&backend, &session).await;
        let endpoint = probe.wait_running(session.hash).await;
        passwords.push(endpoint.password.expect("a password").expose().to_owned());
        let secret =
            test.node.secrets().get(&format!("opencode-server-{}", session.hash)).await.expect("there");
        let claim = test.node.pvcs().get(&format!("opencode-pvc-{}", session.hash)).await.expect("there");
        assert_eq!(secret.owner_references()[0].uid, claim.uid().expect("a uid"));
        backend.delete(session.hash).await.expect("delete");
        probe.wait_removed(session.hash).await;
    }
    passwords.sort();
    passwords.dedup();
    assert_eq!(passwords.len(), 3);
    end(&[backend]).await;
}

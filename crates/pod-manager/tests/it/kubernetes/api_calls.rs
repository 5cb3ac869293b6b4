//! The calls to the API server, and what happens while it is unreachable.

use std::{sync::Arc, time::Duration};

use kube::api::DeleteParams;
use pod_manager::{
    BackendError, Credentials, KubernetesBackend, SessionBackend, SystemClock, Token, WatchEvent,
    contract::WatchProbe,
    model::{Phase, StopReason},
};

use super::{cluster::TEST_TIMEOUT, contract::TestCluster, link::Link};

fn backend(test: &TestCluster, link: &Link) -> Arc<KubernetesBackend> {
    KubernetesBackend::start_up(link.client.clone(), test.cluster.settings.clone(), Arc::new(SystemClock))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_sessions_are_served_while_the_api_server_is_unreachable() {
    let Some(test) = TestCluster::new().await else { return };
    let link = Link::new().await;
    let backend = backend(&test, &link);
    let (one, two) = (test.session(), test.session());
    let mut probe = WatchProbe::new(&*backend, TEST_TIMEOUT);
    for session in [&one, &two] {
        backend.start(session, Credentials::NONE).await.expect("start");
    }
    let runs = [probe.wait_running(one.hash).await, probe.wait_running(two.hash).await];
    link.cut();
    for done in [
        backend.start(&test.session(), Credentials::NONE).await,
        backend.stop(one.hash, StopReason::Requested).await,
        backend.delete(one.hash).await,
        backend.touch(one.hash, std::time::UNIX_EPOCH + Duration::from_secs(1_900_000_000)).await,
    ] {
        assert!(matches!(done, Err(BackendError::Unavailable(_))), "{done:?}");
    }
    let WatchEvent::Snapshot(all) = WatchProbe::new(&*backend, TEST_TIMEOUT).next().await else {
        panic!("no snapshot")
    };
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|seen| matches!(&seen.phase, Phase::Running(at) if runs.contains(at))), "{all:?}");
    // Meanwhile another router makes changes.
    let other = test.backend();
    other.delete(one.hash).await.expect("delete");
    WatchProbe::new(&*other, TEST_TIMEOUT).wait_removed(one.hash).await;
    let name = format!("opencode-session-{}", two.hash);
    test.node.pods().delete(&name, &DeleteParams::default()).await.expect("delete");
    link.restore();
    probe.wait_removed(one.hash).await;
    let again = |seen: &pod_manager::model::SessionStatus| matches!(&seen.phase, Phase::Running(at) if at.run_id != runs[1].run_id);
    probe.wait_for(two.hash, "running again", again).await;
    backend.stop(two.hash, StopReason::Requested).await.expect("stop");
    probe.wait_stopped(two.hash).await;
    other.shutdown().await;
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_starts_without_an_api_server_waits_for_it() {
    let Some(test) = TestCluster::new().await else { return };
    let link = Link::new().await;
    link.cut();
    let backend = backend(&test, &link);
    let mut probe = WatchProbe::new(&*backend, TEST_TIMEOUT);
    let early = tokio::time::timeout(Duration::from_millis(300), probe.next()).await;
    assert!(early.is_err(), "nothing is reported before it is known: {early:?}");
    link.restore();
    assert_eq!(probe.next().await, WatchEvent::Snapshot(Vec::new()));
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_costs_these_calls_and_a_running_one_none() {
    let Some(test) = TestCluster::new().await else { return };
    let link = Link::new().await;
    let backend = backend(&test, &link);
    let mut probe = WatchProbe::new(&*backend, TEST_TIMEOUT);
    probe.next().await;
    // The watch after a list starts a moment after the list is published.
    let begun = async {
        while link.faults.calls.lock().iter().filter(|call| call.starts_with("WATCH")).count() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, begun).await.expect("two watches continue after lists");
    let first = link.take_calls();
    assert_eq!(first.len(), 6, "four watches, two of which list first: {first:#?}");

    let (hash, session) = {
        let session = test.session();
        (session.hash, session)
    };
    let with_token = Credentials { github_token: Token::parse("gho_x"), git_author: None };
    backend.start(&session, &with_token).await.expect("start");
    probe.wait_running(hash).await;
    let namespace = format!("/api/v1/namespaces/{}", test.cluster.settings.namespace);
    let call = |verb: &str, what: &str| format!("{verb} {namespace}/{what}");
    // The log of a long clone is followed.
    let asked = |link: &Link| {
        link.take_calls().into_iter().filter(|call| !call.ends_with("/log")).collect::<Vec<_>>()
    };
    assert_eq!(
        asked(&link),
        [
            call("POST", "persistentvolumeclaims"),
            call("PATCH", &format!("secrets/opencode-github-{hash}")),
            call("POST", "secrets"),
            call("POST", "pods"),
        ],
        "what a create with a GitHub token costs, until its page can be served"
    );

    // Requests are routed from memory, without a call to the API server.
    for _ in 0..100 {
        let WatchEvent::Snapshot(all) = WatchProbe::new(&*backend, TEST_TIMEOUT).next().await else {
            panic!("no snapshot")
        };
        assert_eq!(all.len(), 1);
    }
    backend.touch(hash, std::time::UNIX_EPOCH + Duration::from_secs(1_900_000_000)).await.expect("touch");
    let claim = format!("persistentvolumeclaims/opencode-pvc-{hash}");
    assert_eq!(asked(&link), [call("PATCH", &claim)], "what a minute of use costs");

    backend.stop(hash, StopReason::Idle).await.expect("stop");
    probe.wait_stopped(hash).await;
    let stop = asked(&link);
    assert!(stop.len() <= 4, "what a stop costs: {stop:#?}");
    let password = call("GET", &format!("secrets/opencode-server-{hash}"));
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_running(hash).await;
    assert_eq!(
        asked(&link),
        [call("PATCH", &claim), password.clone(), call("POST", "pods")],
        "what a resume costs"
    );
    backend.stop(hash, StopReason::Requested).await.expect("stop");
    probe.wait_stopped(hash).await;
    asked(&link);
    backend.start(&session, &with_token).await.expect("start");
    probe.wait_running(hash).await;
    let token = call("PATCH", &format!("secrets/opencode-github-{hash}"));
    assert_eq!(
        asked(&link),
        [token, call("PATCH", &claim), password, call("POST", "pods")],
        "what a resume with a GitHub token costs"
    );
    backend.stop(hash, StopReason::Requested).await.expect("stop");
    probe.wait_stopped(hash).await;
    asked(&link);
    backend.delete(hash).await.expect("delete");
    probe.wait_removed(hash).await;
    let delete = asked(&link);
    assert_eq!(delete.len(), 2, "what a delete of what is stopped costs: {delete:#?}");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_used_through_another_router_is_not_stopped_as_idle() {
    let Some(test) = TestCluster::new().await else { return };
    let link = Link::new().await;
    let backend = backend(&test, &link);
    let session = test.session();
    backend.start(&session, Credentials::NONE).await.expect("start");
    let run = WatchProbe::new(&*backend, TEST_TIMEOUT).wait_running(session.hash).await;
    link.faults.hold_events(true);
    // Through another router.
    let later = std::time::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
    let other = test.backend();
    other.touch(session.hash, later).await.expect("touch");
    let refused = backend.stop(session.hash, StopReason::Idle).await;
    assert!(matches!(refused, Err(BackendError::InUse)), "{refused:?}");
    link.faults.hold_events(false);
    assert_eq!(
        WatchProbe::new(&*other, TEST_TIMEOUT).wait_running(session.hash).await.run_id,
        run.run_id,
        "it runs on"
    );
    // Once the activity is known, this router decides. A stop on request always succeeds.
    let mut probe = WatchProbe::new(&*backend, TEST_TIMEOUT);
    probe.wait_for(session.hash, "known to be used", |seen| seen.last_activity == later).await;
    link.faults.hold_events(true);
    other.touch(session.hash, later + Duration::from_secs(1)).await.expect("touch");
    backend.stop(session.hash, StopReason::Requested).await.expect("stop");
    link.faults.hold_events(false);
    probe.wait_stopped(session.hash).await;
    other.shutdown().await;
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_without_its_password_fails_and_gets_another_one_at_its_next_start() {
    let Some(test) = TestCluster::new().await else { return };
    let first = test.backend();
    let session = test.session();
    first.start(&session, Credentials::NONE).await.expect("start");
    WatchProbe::new(&*first, TEST_TIMEOUT).wait_running(session.hash).await;
    first.shutdown().await;
    let name = format!("opencode-server-{}", session.hash);
    test.node.secrets().delete(&name, &DeleteParams::default()).await.expect("deleted");

    let mut settings = test.cluster.settings.clone();
    settings.ready_timeout = Duration::from_secs(1);
    let backend = KubernetesBackend::start_up(test.cluster.router.clone(), settings, Arc::new(SystemClock));
    let mut probe = WatchProbe::new(&*backend, TEST_TIMEOUT);
    let failed = |seen: &pod_manager::model::SessionStatus| matches!(&seen.phase, Phase::Failed(failure) if failure.message.contains("password"));
    probe.wait_for(session.hash, "failed for its password", failed).await;
    backend.start(&session, Credentials::NONE).await.expect("start");
    assert!(probe.wait_running(session.hash).await.password.is_some());
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_reported_once_it_is_stored() {
    let Some(test) = TestCluster::new().await else { return };
    let backend = test.backend();
    let session = test.session();
    let mut probe = WatchProbe::new(&*backend, TEST_TIMEOUT);
    test.node.fail_clones(session.hash, true);
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_for(session.hash, "failed", |seen| matches!(seen.phase, Phase::Failed(_))).await;
    let claim = test.node.pvcs().get(&format!("opencode-pvc-{}", session.hash)).await.expect("a claim");
    let wanted = &claim.metadata.annotations.expect("annotations")["opencode.ai/wanted"];
    assert!(wanted.contains("\"state\":\"failed\""), "{wanted}");
    backend.shutdown().await;
}

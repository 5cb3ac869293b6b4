//! What is asked of the API server, and what happens when it can't be asked.

use std::{sync::Arc, time::Duration};

use kube::api::DeleteParams;
use pod_manager::{
    BackendError, Credentials, KubernetesBackend, SessionBackend, SystemClock, WatchEvent,
    contract::WatchProbe,
    model::{Phase, StopReason},
};

use super::{cluster::PATIENCE, contract::Played, link::Link};

fn backend(played: &Played, link: &Link) -> Arc<KubernetesBackend> {
    KubernetesBackend::start_up(link.client.clone(), played.cluster.settings.clone(), Arc::new(SystemClock))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_api_server_away_what_runs_goes_on_being_served() {
    let Some(played) = Played::new().await else { return };
    let link = Link::new().await;
    let backend = backend(&played, &link);
    let (one, two) = (played.session(), played.session());
    let mut probe = WatchProbe::new(&*backend, PATIENCE);
    for session in [&one, &two] {
        backend.start(session, Credentials::NONE).await.expect("start");
    }
    let runs = [probe.wait_running(one.hash).await, probe.wait_running(two.hash).await];
    link.cut();
    for done in [
        backend.start(&played.session(), Credentials::NONE).await,
        backend.stop(one.hash, StopReason::Requested).await,
        backend.delete(one.hash).await,
        backend.touch(one.hash, std::time::UNIX_EPOCH + Duration::from_secs(1_900_000_000)).await,
    ] {
        assert!(matches!(done, Err(BackendError::Unavailable(_))), "{done:?}");
    }
    let WatchEvent::Snapshot(all) = WatchProbe::new(&*backend, PATIENCE).next().await else {
        panic!("no snapshot")
    };
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|seen| matches!(&seen.phase, Phase::Running(at) if runs.contains(at))), "{all:?}");
    // Meanwhile another one is at work there.
    let other = played.backend();
    other.delete(one.hash).await.expect("delete");
    WatchProbe::new(&*other, PATIENCE).wait_removed(one.hash).await;
    let name = format!("opencode-session-{}", two.hash);
    played.node.pods().delete(&name, &DeleteParams::default()).await.expect("delete");
    link.mend();
    probe.wait_removed(one.hash).await;
    let again = |seen: &pod_manager::model::SessionStatus| matches!(&seen.phase, Phase::Running(at) if at.run_id != runs[1].run_id);
    probe.wait_for(two.hash, "running again", again).await;
    backend.stop(two.hash, StopReason::Requested).await.expect("stop");
    probe.wait_stopped(two.hash).await;
    other.shutdown().await;
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_begins_without_an_api_server_waits_for_it() {
    let Some(played) = Played::new().await else { return };
    let link = Link::new().await;
    link.cut();
    let backend = backend(&played, &link);
    let mut probe = WatchProbe::new(&*backend, PATIENCE);
    let early = tokio::time::timeout(Duration::from_millis(300), probe.next()).await;
    assert!(early.is_err(), "nothing is told before it is known: {early:?}");
    link.mend();
    assert_eq!(probe.next().await, WatchEvent::Snapshot(Vec::new()));
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_costs_these_calls_and_one_that_runs_none() {
    let Some(played) = Played::new().await else { return };
    let link = Link::new().await;
    let backend = backend(&played, &link);
    let mut probe = WatchProbe::new(&*backend, PATIENCE);
    probe.next().await;
    // The watch that goes on behind a list begins a moment after what was listed is told.
    let begun = async {
        while link.hands.calls.lock().iter().filter(|call| call.starts_with("WATCH")).count() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.expect("two watches go on behind lists");
    let first = link.asked();
    assert_eq!(first.len(), 6, "four watches, two of which list first: {first:#?}");

    let (hash, session) = {
        let session = played.session();
        (session.hash, session)
    };
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_running(hash).await;
    let namespace = format!("/api/v1/namespaces/{}", played.cluster.settings.namespace);
    let call = |verb: &str, what: &str| format!("{verb} {namespace}/{what}");
    // The clone's log is followed while its container runs: that may be over before it is seen.
    let asked =
        |link: &Link| link.asked().into_iter().filter(|call| !call.ends_with("/log")).collect::<Vec<_>>();
    assert_eq!(
        asked(&link),
        [
            call("POST", "persistentvolumeclaims"),
            call("POST", "secrets"),
            call("POST", "pods"),
            call("GET", &format!("secrets/opencode-server-{hash}")),
        ],
        "what a create costs"
    );

    // Whoever asks where to send a request is answered from what was told: nothing is asked of the API server.
    for _ in 0..100 {
        let WatchEvent::Snapshot(all) = WatchProbe::new(&*backend, PATIENCE).next().await else {
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
    backend.delete(hash).await.expect("delete");
    probe.wait_removed(hash).await;
    let delete = asked(&link);
    assert_eq!(delete.len(), 2, "what a delete of what is stopped costs: {delete:#?}");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_router_saw_used_is_not_stopped_as_idle_however_late_this_one_hears_of_it() {
    let Some(played) = Played::new().await else { return };
    let link = Link::new().await;
    let backend = backend(&played, &link);
    let session = played.session();
    backend.start(&session, Credentials::NONE).await.expect("start");
    let run = WatchProbe::new(&*backend, PATIENCE).wait_running(session.hash).await;
    link.hands.hold_news(true);
    // By another one.
    let later = std::time::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
    let other = played.backend();
    other.touch(session.hash, later).await.expect("touch");
    let refused = backend.stop(session.hash, StopReason::Idle).await;
    assert!(matches!(refused, Err(BackendError::InUse)), "{refused:?}");
    link.hands.hold_news(false);
    assert_eq!(
        WatchProbe::new(&*other, PATIENCE).wait_running(session.hash).await.run_id,
        run.run_id,
        "it runs on"
    );
    // Once it is known, it is this one's to decide; and whoever asks for a stop gets it in any case.
    let mut probe = WatchProbe::new(&*backend, PATIENCE);
    probe.wait_for(session.hash, "known to be used", |seen| seen.last_activity == later).await;
    link.hands.hold_news(true);
    other.touch(session.hash, later + Duration::from_secs(1)).await.expect("touch");
    backend.stop(session.hash, StopReason::Requested).await.expect("stop");
    link.hands.hold_news(false);
    probe.wait_stopped(session.hash).await;
    other.shutdown().await;
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_password_is_gone_says_so_and_gets_another_one_when_it_is_started_anew() {
    let Some(played) = Played::new().await else { return };
    let first = played.backend();
    let session = played.session();
    first.start(&session, Credentials::NONE).await.expect("start");
    WatchProbe::new(&*first, PATIENCE).wait_running(session.hash).await;
    first.shutdown().await;
    let name = format!("opencode-server-{}", session.hash);
    played.node.secrets().delete(&name, &DeleteParams::default()).await.expect("deleted");

    let mut settings = played.cluster.settings.clone();
    settings.ready_timeout = Duration::from_secs(1);
    let backend = KubernetesBackend::start_up(played.cluster.router.clone(), settings, Arc::new(SystemClock));
    let mut probe = WatchProbe::new(&*backend, PATIENCE);
    let failed = |seen: &pod_manager::model::SessionStatus| matches!(&seen.phase, Phase::Failed(failure) if failure.message.contains("password"));
    probe.wait_for(session.hash, "failed for its password", failed).await;
    backend.start(&session, Credentials::NONE).await.expect("start");
    assert!(probe.wait_running(session.hash).await.password.is_some());
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_told_once_it_is_written_down_so_that_every_router_tells_the_same() {
    let Some(played) = Played::new().await else { return };
    let backend = played.backend();
    let session = played.session();
    let mut probe = WatchProbe::new(&*backend, PATIENCE);
    played.node.fail_clones(session.hash, true);
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_for(session.hash, "failed", |seen| matches!(seen.phase, Phase::Failed(_))).await;
    let claim = played.node.pvcs().get(&format!("opencode-pvc-{}", session.hash)).await.expect("a claim");
    let wanted = &claim.metadata.annotations.expect("annotations")["opencode.ai/wanted"];
    assert!(wanted.contains("\"state\":\"failed\""), "{wanted}");
    backend.shutdown().await;
}

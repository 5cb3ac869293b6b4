//! Sessions while watches end or are refused, and lists arrive late.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use kube::api::{DeleteParams, Patch, PatchParams};
use pod_manager::{
    Credentials, KubernetesBackend, SessionBackend, SystemClock, WatchEvent,
    contract::WatchProbe,
    model::{Phase, Session, StopReason},
};
use serde_json::json;
use session_key::SessionHash;
use tokio::time::{sleep, timeout};

use super::{cluster::TEST_TIMEOUT, contract::TestCluster, faults::TooOld, link::Link};

fn backend(test: &TestCluster, link: &Link) -> Arc<KubernetesBackend> {
    KubernetesBackend::start_up(link.client.clone(), test.cluster.settings.clone(), Arc::new(SystemClock))
}

async fn running(backend: &KubernetesBackend, probe: &mut WatchProbe, session: &Session) {
    backend.start(session, Credentials::NONE).await.expect("start");
    probe.wait_running(session.hash).await;
}

/// Refuses every watch that would continue at a version, until claims and Pods were listed again.
async fn list_anew(link: &Link, how: TooOld) {
    link.faults.refuse_watches(Some(how));
    link.take_calls();
    link.restore();
    let mut lists = BTreeSet::new();
    let all = async {
        while lists.len() < 2 {
            // The API server streams these lists.
            lists.extend(link.take_calls().into_iter().filter(|call| call.starts_with("LIST")));
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(TEST_TIMEOUT, all).await.expect("everything is listed again");
    link.faults.refuse_watches(None);
}

/// Asserts that the session was reported as running all the time.
#[track_caller]
fn never_flapped(probe: &WatchProbe, hash: SessionHash, from: usize) {
    for seen in &probe.history[from..] {
        match seen {
            WatchEvent::Applied(one) if one.session.hash == hash => {
                assert!(matches!(one.phase, Phase::Running(_)), "{one:#?}");
            }
            WatchEvent::Removed(gone) => assert_ne!(*gone, hash),
            _ => {}
        }
    }
}

async fn nothing_is_lost(how: Option<TooOld>) {
    let Some(test) = TestCluster::new().await else { return };
    let link = Link::new().await;
    let backend = backend(&test, &link);
    let mut probe = WatchProbe::new(&*backend, TEST_TIMEOUT);
    let [stays, stops, goes, newest] = [(); 4].map(|()| test.session());
    for session in [&stays, &stops, &goes, &newest] {
        running(&backend, &mut probe, session).await;
    }
    let reported = probe.history.len();

    // While the watches are cut, another router deletes two sessions, among them the newest, stops one and
    // creates one.
    link.cut();
    let other = test.backend();
    let mut others = WatchProbe::new(&*other, TEST_TIMEOUT);
    for session in [&goes, &newest] {
        other.delete(session.hash).await.expect("delete");
        others.wait_removed(session.hash).await;
    }
    other.stop(stops.hash, StopReason::Requested).await.expect("stop");
    others.wait_stopped(stops.hash).await;
    let made = test.session();
    running(&other, &mut others, &made).await;
    match how {
        Some(how) => list_anew(&link, how).await,
        None => link.restore(),
    }
    probe.wait_removed(goes.hash).await;
    probe.wait_removed(newest.hash).await;
    probe.wait_stopped(stops.hash).await;
    probe.wait_running(made.hash).await;
    never_flapped(&probe, stays.hash, reported);
    // The watches continue to deliver changes.
    other.stop(made.hash, StopReason::Requested).await.expect("stop");
    probe.wait_stopped(made.hash).await;
    backend.stop(stays.hash, StopReason::Requested).await.expect("stop");
    probe.wait_stopped(stays.hash).await;
    let WatchEvent::Snapshot(all) = WatchProbe::new(&*backend, TEST_TIMEOUT).next().await else {
        panic!("no snapshot")
    };
    assert_eq!(all.len(), 3, "{all:#?}");
    other.shutdown().await;
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_expires_loses_no_change_and_keeps_no_deleted_session() {
    nothing_is_lost(Some(TooOld::ByEvent)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_is_refused_as_too_old_loses_no_change_and_keeps_no_deleted_session() {
    nothing_is_lost(Some(TooOld::ByStatus)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_is_cut_loses_no_change_and_keeps_no_deleted_session() {
    nothing_is_lost(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_without_protobuf_shows_the_same_sessions() {
    let Some(test) = TestCluster::new().await else { return };
    let links = [Link::new().await, Link::new().await];
    links[1].faults.answer_json();
    let backends = links.each_ref().map(|link| backend(&test, link));
    let [stays, stops] = [(); 2].map(|()| test.session());
    let mut probes = backends.each_ref().map(|backend| WatchProbe::new(&**backend, TEST_TIMEOUT));
    for session in [&stays, &stops] {
        running(&backends[0], &mut probes[0], session).await;
    }
    backends[1].stop(stops.hash, StopReason::Requested).await.expect("stop");
    for probe in &mut probes {
        probe.wait_running(stays.hash).await;
        probe.wait_stopped(stops.hash).await;
    }
    let ends: Vec<_> =
        probes.iter().map(|probe| (probe.status(stays.hash), probe.status(stops.hash))).collect();
    let endpoints = ends.iter().map(|(stays, _)| stays.map(|seen| &seen.phase)).collect::<Vec<_>>();
    assert_eq!(endpoints[0], endpoints[1]);
    assert_eq!(ends[0].1, ends[1].1);
    for backend in backends {
        backend.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_session_of_all_is_removed_too() {
    let Some(test) = TestCluster::new().await else { return };
    let link = Link::new().await;
    let backend = backend(&test, &link);
    let mut probe = WatchProbe::new(&*backend, TEST_TIMEOUT);
    let session = test.session();
    running(&backend, &mut probe, &session).await;
    link.cut();
    let other = test.backend();
    WatchProbe::new(&*other, TEST_TIMEOUT).wait_running(session.hash).await;
    other.delete(session.hash).await.expect("delete");
    WatchProbe::new(&*other, TEST_TIMEOUT).wait_removed(session.hash).await;
    // The next list is empty.
    list_anew(&link, TooOld::ByEvent).await;
    probe.wait_removed(session.hash).await;
    other.shutdown().await;
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_connections_do_not_change_any_session() {
    let Some(test) = TestCluster::new().await else { return };
    let link = Link::new().await;
    let backend = backend(&test, &link);
    let mut probe = WatchProbe::new(&*backend, TEST_TIMEOUT);
    let session = test.session();
    running(&backend, &mut probe, &session).await;
    let reported = probe.history.len();
    for round in 0..12_u64 {
        if round % 3 == 0 {
            link.faults.expire_watches();
        } else {
            link.cut_once();
        }
        // Somebody else changes the claim meanwhile.
        let at = format!("2026-11-24T10:{round:02}:00Z");
        let patch = json!({ "metadata": { "annotations": { "opencode.ai/last-activity": at } } });
        let name = format!("opencode-pvc-{}", session.hash);
        test.node.pvcs().patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
        let at: jiff::Timestamp = at.parse().expect("a time");
        let is_told = |seen: &pod_manager::model::SessionStatus| seen.last_activity == at.into();
        probe.wait_for(session.hash, "used", is_told).await;
    }
    never_flapped(&probe, session.hash, reported);
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_list_brings_no_deleted_session_back() {
    let Some(test) = TestCluster::new().await else { return };
    let link = Link::new().await;
    let backend = backend(&test, &link);
    let mut probe = WatchProbe::new(&*backend, TEST_TIMEOUT);
    let [deleted, stopped, replaced] = [(); 3].map(|()| test.session());
    for session in [&deleted, &stopped, &replaced] {
        running(&backend, &mut probe, session).await;
    }
    let run = probe.wait_running(replaced.hash).await.run_id;
    // Lists from while all sessions were running arrive late.
    link.faults.hold_lists(true);
    link.faults.expire_watches();
    timeout(TEST_TIMEOUT, link.faults.held_lists(2)).await.expect("lists are asked for");
    backend.delete(deleted.hash).await.expect("delete");
    backend.stop(stopped.hash, StopReason::Requested).await.expect("stop");
    let pod = format!("opencode-session-{}", replaced.hash);
    test.node.pods().delete(&pod, &DeleteParams::default()).await.expect("delete");
    let gone = async {
        while test.objects(deleted.hash).await != [0, 0, 0] || test.objects(stopped.hash).await[1] != 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TEST_TIMEOUT, gone).await.expect("the loops act on what the calls answered");
    while probe.status(deleted.hash).is_none_or(|seen| seen.phase != Phase::Stopping) {
        probe.next().await;
    }
    let reported = probe.history.len();
    link.faults.hold_lists(false);
    probe.wait_removed(deleted.hash).await;
    probe.wait_stopped(stopped.hash).await;
    let another = |seen: &pod_manager::model::SessionStatus| matches!(&seen.phase, Phase::Running(at) if at.run_id != run);
    probe.wait_for(replaced.hash, "running again", another).await;
    for seen in &probe.history[reported..] {
        if let WatchEvent::Applied(one) = seen
            && [deleted.hash, stopped.hash].contains(&one.session.hash)
        {
            assert!(!matches!(one.phase, Phase::Running(_)), "it came back: {one:#?}");
        }
    }
    assert!(test.node.max_process_count(replaced.hash) <= 1);
    backend.shutdown().await;
}

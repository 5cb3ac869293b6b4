//! What becomes of sessions while watches end, are refused, and lists come late.

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

use super::{cluster::PATIENCE, contract::Played, link::Link, meddle::TooOld};

fn backend(played: &Played, link: &Link) -> Arc<KubernetesBackend> {
    KubernetesBackend::start_up(link.client.clone(), played.cluster.settings.clone(), Arc::new(SystemClock))
}

async fn running(backend: &KubernetesBackend, probe: &mut WatchProbe, session: &Session) {
    backend.start(session, Credentials::NONE).await.expect("start");
    probe.wait_running(session.hash).await;
}

/// Refuses every watch that would go on where it was, until claims and Pods were listed anew.
async fn list_anew(link: &Link, how: TooOld) {
    link.hands.refuse_watches(Some(how));
    link.asked();
    link.mend();
    let mut lists = BTreeSet::new();
    let all = async {
        while lists.len() < 2 {
            // An API server streams these; it is a list all the same.
            lists.extend(link.asked().into_iter().filter(|call| call.starts_with("LIST")));
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, all).await.expect("all is listed anew");
    link.hands.refuse_watches(None);
}

/// Everything that was told of this session was that it runs, as at first.
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
    let Some(played) = Played::new().await else { return };
    let link = Link::new().await;
    let backend = backend(&played, &link);
    let mut probe = WatchProbe::new(&*backend, PATIENCE);
    let [stays, stops, goes, newest] = [(); 4].map(|()| played.session());
    for session in [&stays, &stops, &goes, &newest] {
        running(&backend, &mut probe, session).await;
    }
    let told = probe.history.len();

    // While nothing is heard another router deletes two, one of them the newest of all, and stops and makes one.
    link.cut();
    let other = played.backend();
    let mut others = WatchProbe::new(&*other, PATIENCE);
    for session in [&goes, &newest] {
        other.delete(session.hash).await.expect("delete");
        others.wait_removed(session.hash).await;
    }
    other.stop(stops.hash, StopReason::Requested).await.expect("stop");
    others.wait_stopped(stops.hash).await;
    let made = played.session();
    running(&other, &mut others, &made).await;
    match how {
        Some(how) => list_anew(&link, how).await,
        None => link.mend(),
    }
    probe.wait_removed(goes.hash).await;
    probe.wait_removed(newest.hash).await;
    probe.wait_stopped(stops.hash).await;
    probe.wait_running(made.hash).await;
    never_flapped(&probe, stays.hash, told);
    // And it is still heard what happens.
    other.stop(made.hash, StopReason::Requested).await.expect("stop");
    probe.wait_stopped(made.hash).await;
    backend.stop(stays.hash, StopReason::Requested).await.expect("stop");
    probe.wait_stopped(stays.hash).await;
    let WatchEvent::Snapshot(all) = WatchProbe::new(&*backend, PATIENCE).next().await else {
        panic!("no snapshot")
    };
    assert_eq!(all.len(), 3, "{all:#?}");
    other.shutdown().await;
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_is_told_that_it_is_too_old_loses_and_keeps_nothing() {
    nothing_is_lost(Some(TooOld::ByEvent)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_is_refused_as_too_old_loses_and_keeps_nothing() {
    nothing_is_lost(Some(TooOld::ByStatus)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_is_cut_loses_and_keeps_nothing() {
    nothing_is_lost(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_session_of_all_is_gone_too() {
    let Some(played) = Played::new().await else { return };
    let link = Link::new().await;
    let backend = backend(&played, &link);
    let mut probe = WatchProbe::new(&*backend, PATIENCE);
    let session = played.session();
    running(&backend, &mut probe, &session).await;
    link.cut();
    let other = played.backend();
    WatchProbe::new(&*other, PATIENCE).wait_running(session.hash).await;
    other.delete(session.hash).await.expect("delete");
    WatchProbe::new(&*other, PATIENCE).wait_removed(session.hash).await;
    // The next list is empty.
    list_anew(&link, TooOld::ByEvent).await;
    probe.wait_removed(session.hash).await;
    other.shutdown().await;
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_again_and_again_are_not_seen_in_any_session() {
    let Some(played) = Played::new().await else { return };
    let link = Link::new().await;
    let backend = backend(&played, &link);
    let mut probe = WatchProbe::new(&*backend, PATIENCE);
    let session = played.session();
    running(&backend, &mut probe, &session).await;
    let told = probe.history.len();
    for round in 0..12_u64 {
        if round % 3 == 0 {
            link.hands.expire_watches();
        } else {
            link.cut_once();
        }
        // Another hand changes it in the middle of that.
        let at = format!("2026-11-24T10:{round:02}:00Z");
        let patch = json!({ "metadata": { "annotations": { "opencode.ai/last-activity": at } } });
        let name = format!("opencode-pvc-{}", session.hash);
        played
            .node
            .pvcs()
            .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .expect("patched");
        let at: jiff::Timestamp = at.parse().expect("a time");
        let is_told = |seen: &pod_manager::model::SessionStatus| seen.last_activity == at.into();
        probe.wait_for(session.hash, "used", is_told).await;
    }
    never_flapped(&probe, session.hash, told);
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_comes_late_brings_nothing_back() {
    let Some(played) = Played::new().await else { return };
    let link = Link::new().await;
    let backend = backend(&played, &link);
    let mut probe = WatchProbe::new(&*backend, PATIENCE);
    let [deleted, stopped, replaced] = [(); 3].map(|()| played.session());
    for session in [&deleted, &stopped, &replaced] {
        running(&backend, &mut probe, session).await;
    }
    let run = probe.wait_running(replaced.hash).await.run_id;
    // Lists that were made while all of them ran arrive after the rest happened.
    link.hands.hold_lists(true);
    link.hands.expire_watches();
    timeout(PATIENCE, link.hands.held_lists(2)).await.expect("lists are asked for");
    backend.delete(deleted.hash).await.expect("delete");
    backend.stop(stopped.hash, StopReason::Requested).await.expect("stop");
    let pod = format!("opencode-session-{}", replaced.hash);
    played.node.pods().delete(&pod, &DeleteParams::default()).await.expect("delete");
    let gone = async {
        while played.objects(deleted.hash).await != [0, 0, 0] || played.objects(stopped.hash).await[1] != 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the loops act on what the calls answered");
    while probe.status(deleted.hash).is_none_or(|seen| seen.phase != Phase::Stopping) {
        probe.next().await;
    }
    let told = probe.history.len();
    link.hands.hold_lists(false);
    probe.wait_removed(deleted.hash).await;
    probe.wait_stopped(stopped.hash).await;
    let another = |seen: &pod_manager::model::SessionStatus| matches!(&seen.phase, Phase::Running(at) if at.run_id != run);
    probe.wait_for(replaced.hash, "running again", another).await;
    for seen in &probe.history[told..] {
        if let WatchEvent::Applied(one) = seen
            && [deleted.hash, stopped.hash].contains(&one.session.hash)
        {
            assert!(!matches!(one.phase, Phase::Running(_)), "it came back: {one:#?}");
        }
    }
    assert!(played.node.max_process_count(replaced.hash) <= 1);
    backend.shutdown().await;
}

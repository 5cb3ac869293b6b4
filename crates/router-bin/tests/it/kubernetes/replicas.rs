//! Several replicas give the same answers: all state is in the cluster.

use std::time::Duration;

use http::StatusCode;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::{Api, ResourceExt as _};
use pod_manager::{Leadership as _, memory::FakeOpencode};
use reqwest::Method;
use serde_json::{Value, json};
use session_key::SessionHash;
use tokio::time::{Instant, sleep};

use super::test_cluster::{ALICE, BOB, TOKEN, TestCluster, TestRouter};

/// Waits until one of the routers is the leader; there are never two.
async fn leader<'a>(routers: &[&'a TestRouter]) -> &'a TestRouter {
    let started = Instant::now();
    loop {
        let leaders: Vec<_> = routers.iter().filter(|router| router.backend.is_leader()).collect();
        assert!(leaders.len() <= 1, "{} leaders", leaders.len());
        if let Some(leader) = leaders.first() {
            return leader;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "no leader");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Returns a list without the times at which its router saw opencode respond: each router probes for itself.
fn without_probe_times(mut list: Value) -> Value {
    let sessions = list.as_array_mut().expect("a list").iter_mut();
    for stage in sessions.flat_map(|session| session["stages"].as_array_mut().expect("stages")) {
        if stage["stage"] == "starting" || stage["stage"] == "ready" {
            stage["endedAt"].take();
        }
        if stage["stage"] == "ready" {
            stage["startedAt"].take();
        }
    }
    list
}

#[tokio::test]
async fn changes_by_one_router_are_seen_by_the_other() {
    let Some(cluster) = TestCluster::find().await else { return };
    let (one, two) = (cluster.router(&[]).await, cluster.router(&[]).await);
    let hash = one.create(ALICE, "main", None).await;
    two.wait_for_state(ALICE, &hash, "running").await;
    one.wait_for_state(ALICE, &hash, "running").await;
    assert_eq!(without_probe_times(one.list(ALICE).await), without_probe_times(two.list(ALICE).await));
    let url = two.list(ALICE).await[0]["url"].as_str().expect("a url").to_owned();
    assert_eq!(url, format!("https://{hash}-oc.oc.example.org/L2Zha2UvcmVwbw/session/ses_fake1"));

    // Both routers forward to the same Pod, with its password and without the user's identity.
    let (status, echoed) = one.get(ALICE, &hash, FakeOpencode::ECHO).await;
    assert_eq!((status, &echoed["path"]), (StatusCode::OK, &json!(FakeOpencode::ECHO)));
    let sent = &echoed["headers"];
    assert!(sent["authorization"].as_str().expect("a password").starts_with("Basic "));
    for name in ["x-auth-request-email", "x-auth-request-access-token"] {
        assert_eq!(sent[name], Value::Null, "{name}");
    }
    let (status, other) = two.get(ALICE, &hash, FakeOpencode::ECHO).await;
    assert_eq!((status, &other["path"]), (StatusCode::OK, &echoed["path"]));
    for name in ["authorization", "host", "x-auth-request-email", "x-auth-request-access-token"] {
        assert_eq!(other["headers"][name], sent[name], "{name}");
    }
    assert_eq!(two.get(BOB, &hash, "/anything").await.0, StatusCode::NOT_FOUND);
    // Any port of the Pod is reachable except opencode's, which would be reached without its password.
    assert_eq!(two.get(ALICE, &format!("4096-{hash}"), "/anything").await.0, StatusCode::NOT_FOUND);
    assert_eq!(two.get(ALICE, &format!("5173-{hash}"), "/anything").await.0, StatusCode::BAD_GATEWAY);

    two.post(ALICE, &format!("/api/sessions/{hash}/stop"), json!({})).await;
    one.wait_for_state(ALICE, &hash, "stopped").await;
    two.wait_for_state(ALICE, &hash, "stopped").await;
    // Whichever router starts the session, requests that wait in both are forwarded once it runs.
    let (at_one, at_two) =
        tokio::join!(one.get(ALICE, &hash, "/anything"), two.get(ALICE, &hash, "/anything"));
    assert_eq!((at_one.0, at_two.0), (StatusCode::OK, StatusCode::OK));
    one.wait_for_state(ALICE, &hash, "running").await;

    let deleted =
        two.request_as(ALICE, Method::DELETE, "", &format!("/api/sessions/{hash}")).json(&json!({})).send();
    assert_eq!(deleted.await.expect("a response").status(), StatusCode::NO_CONTENT);
    one.wait_for(ALICE, "the session should be gone", |list| list == &json!([])).await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    assert_eq!(pods.list(&Default::default()).await.expect("a list").items.len(), 0);
    assert_eq!(claims.list(&Default::default()).await.expect("a list").items.len(), 0);
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn a_killed_router_is_replaced_by_the_other() {
    let Some(cluster) = TestCluster::find().await else { return };
    let (one, two) = (cluster.router(&[]).await, cluster.router(&[]).await);
    let hash = one.create(ALICE, "main", None).await;
    one.wait_for_state(ALICE, &hash, "running").await;
    two.wait_for_state(ALICE, &hash, "running").await;
    let one_leads = std::ptr::eq(leader(&[&one, &two]).await, &one);
    let (killed, survivor) = if one_leads { (one, two) } else { (two, one) };
    killed.kill().await;
    assert_eq!(survivor.get(ALICE, &hash, "/anything").await.0, StatusCode::OK);
    let other = survivor.create(ALICE, "other", None).await;
    survivor.wait_for_state(ALICE, &other, "running").await;
    leader(&[&survivor]).await;

    // A new router knows all sessions.
    let third = cluster.router(&[]).await;
    third.wait_for_state(ALICE, &other, "running").await;
    assert_eq!(without_probe_times(third.list(ALICE).await), without_probe_times(survivor.list(ALICE).await));
    survivor.end().await;
    assert_eq!(third.get(ALICE, &hash, "/anything").await.0, StatusCode::OK, "Pods outlive routers");
    leader(&[&third]).await;
    third.end().await;
}

#[tokio::test]
async fn the_first_prompt_is_sent_once_by_one_router() {
    let Some(cluster) = TestCluster::find().await else { return };
    let (one, two) = (cluster.router(&[]).await, cluster.router(&[]).await);
    let hashes =
        [one.create(ALICE, "main", Some("Fix it")).await, two.create(BOB, "main", Some("Fix it")).await];
    for (user, hash) in [ALICE, BOB].into_iter().zip(&hashes) {
        one.wait_for_state(user, hash, "running").await;
        two.wait_for_state(user, hash, "running").await;
    }
    assert_eq!(cluster.node.prompts(), 2);
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn an_idle_session_is_stopped_and_both_routers_show_the_reason() {
    let Some(cluster) = TestCluster::find().await else { return };
    let idle = [("IDLE_TIMEOUT_MINUTES", "0.05")];
    let (one, two) = (cluster.router(&idle).await, cluster.router(&idle).await);
    one.create(ALICE, "main", None).await;
    for router in [&one, &two] {
        let is_idle = |list: &Value| list[0]["state"] == "stopped" && list[0]["reason"]["code"] == "idle";
        router.wait_for(ALICE, "the session should be stopped as idle", is_idle).await;
    }
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    assert_eq!(claims.list(&Default::default()).await.expect("a list").items.len(), 1, "the claim is kept");
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn a_users_token_is_in_the_sessions_secret_and_nowhere_else() {
    let Some(cluster) = TestCluster::find().await else { return };
    let router = cluster.router(&[]).await;
    let hash = router.create(ALICE, "main", None).await;
    router.wait_for_state(ALICE, &hash, "running").await;
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let secret = secrets.get(&format!("opencode-github-{hash}")).await.expect("a Secret");
    assert_eq!(secret.data.as_ref().expect("data")["GITHUB_TOKEN"].0, TOKEN.as_bytes());
    let owners = secret.owner_references();
    assert_eq!((owners.len(), owners[0].kind.as_str()), (1, "PersistentVolumeClaim"));
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let all = json!([
        pods.list(&Default::default()).await.expect("a list").items,
        claims.list(&Default::default()).await.expect("a list").items,
    ]);
    assert!(!all.to_string().contains(TOKEN), "{all:#}");
    router.end().await;
}

#[tokio::test]
async fn a_session_in_use_through_the_other_router_is_not_idle() {
    let Some(cluster) = TestCluster::find().await else { return };
    let idle = [("IDLE_TIMEOUT_MINUTES", "0.1")];
    let (one, two) = (cluster.router(&idle).await, cluster.router(&idle).await);
    let hash = one.create(ALICE, "main", None).await;
    one.wait_for_state(ALICE, &hash, "running").await;
    two.wait_for_state(ALICE, &hash, "running").await;
    let one_leads = std::ptr::eq(leader(&[&one, &two]).await, &one);
    let used = if one_leads { &two } else { &one };
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(10) {
        assert_eq!(
            used.get(ALICE, &hash, "/anything").await.0,
            StatusCode::OK,
            "after {:?}",
            started.elapsed()
        );
        sleep(Duration::from_millis(300)).await;
    }
    let last = Instant::now();
    used.wait_for_state(ALICE, &hash, "stopped").await;
    assert!(last.elapsed() > Duration::from_secs(2), "stopped {:?} after its last use", last.elapsed());
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn messages_and_work_are_shown_by_every_router_at_once() {
    let Some(cluster) = TestCluster::find().await else { return };
    cluster.node.enable_events();
    let (one, two) = (cluster.router(&[]).await, cluster.router(&[]).await);
    let hash = one.create(ALICE, "main", None).await;
    for router in [&one, &two] {
        router.wait_for_state(ALICE, &hash, "running").await;
    }
    let opencode = cluster.node.opencode(SessionHash::parse(&hash).expect("a hash")).await;
    let conversation = opencode.conversations().last().expect("a conversation").0.clone();
    let (mut ones, mut twos) = (one.messages(ALICE, &hash).await, two.messages(ALICE, &hash).await);
    opencode.answer(&conversation, 1, "It is done.", true);
    opencode.set_busy(true);
    for (router, messages) in [(&one, &mut ones), (&two, &mut twos)] {
        messages.wait_for("It is done.").await;
        router.wait_for(ALICE, "the agent should be at work", |list| list[0]["busy"] == true).await;
    }
    let (status, _) = two.get(BOB, "", &format!("/api/sessions/{hash}/progress/stream")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    one.end().await;
    two.end().await;
}

//! Several routers behind one address give the same answers: nothing that matters lives in one of them.

use std::{sync::atomic::Ordering, time::Duration};

use http::StatusCode;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::{Api, ResourceExt as _};
use pod_manager::Leadership as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::house::{ADA, BOB, Cluster, Router, TOKEN};

/// Waits until one of them acts on its own; never two do.
async fn reaper<'a>(routers: &[&'a Router]) -> &'a Router {
    let begun = Instant::now();
    loop {
        let acting: Vec<_> = routers.iter().filter(|router| router.backend.is_leader()).collect();
        assert!(acting.len() <= 1, "{} act at once", acting.len());
        if let Some(one) = acting.first() {
            return one;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "nobody acts");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A list without when its router saw opencode answer: each asks for itself.
fn same(mut list: Value) -> Value {
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
async fn what_is_done_by_one_router_is_seen_by_the_other() {
    let Some(cluster) = Cluster::find().await else { return };
    let (one, two) = (cluster.router(&[]).await, cluster.router(&[]).await);
    let hash = one.create(ADA, "main", None).await;
    two.until_state(ADA, &hash, "running").await;
    one.until_state(ADA, &hash, "running").await;
    assert_eq!(same(one.list(ADA).await), same(two.list(ADA).await));
    let url = two.list(ADA).await[0]["url"].as_str().expect("a url").to_owned();
    assert_eq!(url, format!("https://{hash}-oc.oc.example.org/L2hvbWUvb3BlbmNvZGUvcmVwbw/session/ses_1"));

    // Both lead into the same Pod, with its password and nothing of hers.
    let (status, said) = one.get(ADA, &hash, "/anything").await;
    assert_eq!((status, &said["path"]), (StatusCode::OK, &json!("/anything")));
    assert!(said["authorization"].as_str().expect("a password").starts_with("Basic "));
    assert_eq!((&said["email"], &said["token"]), (&Value::Null, &Value::Null));
    assert_eq!(two.get(ADA, &hash, "/anything").await, (status, said));
    assert_eq!(two.get(BOB, &hash, "/anything").await.0, StatusCode::NOT_FOUND);
    // Any port of the Pod is hers, but opencode's is not reached without its password.
    assert_eq!(two.get(ADA, &format!("4096-{hash}"), "/anything").await.0, StatusCode::NOT_FOUND);
    assert_eq!(two.get(ADA, &format!("5173-{hash}"), "/anything").await.0, StatusCode::BAD_GATEWAY);

    two.post(ADA, &format!("/api/sessions/{hash}/stop"), json!({})).await;
    one.until_state(ADA, &hash, "stopped").await;
    assert_eq!(one.get(ADA, &hash, "/anything").await.0, StatusCode::SERVICE_UNAVAILABLE);
    one.post(ADA, &format!("/api/sessions/{hash}/resume"), json!({})).await;
    two.until_state(ADA, &hash, "running").await;

    let deleted = two.by(ADA, Method::DELETE, "", &format!("/api/sessions/{hash}")).json(&json!({})).send();
    assert_eq!(deleted.await.expect("an answer").status(), StatusCode::NO_CONTENT);
    one.until(ADA, "it is gone", |list| list == &json!([])).await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    assert_eq!(pods.list(&Default::default()).await.expect("a list").items.len(), 0);
    assert_eq!(claims.list(&Default::default()).await.expect("a list").items.len(), 0);
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn when_one_is_killed_the_other_goes_on() {
    let Some(cluster) = Cluster::find().await else { return };
    let (one, two) = (cluster.router(&[]).await, cluster.router(&[]).await);
    let hash = one.create(ADA, "main", None).await;
    one.until_state(ADA, &hash, "running").await;
    two.until_state(ADA, &hash, "running").await;
    let acts = std::ptr::eq(reaper(&[&one, &two]).await, &one);
    let (killed, left) = if acts { (one, two) } else { (two, one) };
    killed.kill().await;
    assert_eq!(left.get(ADA, &hash, "/anything").await.0, StatusCode::OK);
    let other = left.create(ADA, "other", None).await;
    left.until_state(ADA, &other, "running").await;
    reaper(&[&left]).await;

    // A third one knows all of it.
    let third = cluster.router(&[]).await;
    third.until_state(ADA, &other, "running").await;
    assert_eq!(same(third.list(ADA).await), same(left.list(ADA).await));
    left.end().await;
    assert_eq!(third.get(ADA, &hash, "/anything").await.0, StatusCode::OK, "Pods outlive routers");
    reaper(&[&third]).await;
    third.end().await;
}

#[tokio::test]
async fn the_first_message_is_sent_once_by_one_of_them() {
    let Some(cluster) = Cluster::find().await else { return };
    let (one, two) = (cluster.router(&[]).await, cluster.router(&[]).await);
    let hashes =
        [one.create(ADA, "main", Some("Fix it")).await, two.create(BOB, "main", Some("Fix it")).await];
    for (who, hash) in [ADA, BOB].into_iter().zip(&hashes) {
        one.until_state(who, hash, "running").await;
        two.until_state(who, hash, "running").await;
    }
    assert_eq!(cluster.node.prompts.load(Ordering::SeqCst), 2);
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn what_nobody_uses_is_stopped_and_both_say_why() {
    let Some(cluster) = Cluster::find().await else { return };
    let idle = [("IDLE_TIMEOUT_MINUTES", "0.05")];
    let (one, two) = (cluster.router(&idle).await, cluster.router(&idle).await);
    one.create(ADA, "main", None).await;
    for router in [&one, &two] {
        let is_so = |list: &Value| list[0]["state"] == "stopped" && list[0]["reason"]["code"] == "idle";
        router.until(ADA, "it is stopped, since it is idle", is_so).await;
    }
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    assert_eq!(claims.list(&Default::default()).await.expect("a list").items.len(), 1, "its files are kept");
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn her_token_is_in_the_sessions_secret_and_nowhere_else() {
    let Some(cluster) = Cluster::find().await else { return };
    let router = cluster.router(&[]).await;
    let hash = router.create(ADA, "main", None).await;
    router.until_state(ADA, &hash, "running").await;
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
async fn who_is_used_through_the_other_router_is_not_idle() {
    let Some(cluster) = Cluster::find().await else { return };
    let idle = [("IDLE_TIMEOUT_MINUTES", "0.1")];
    let (one, two) = (cluster.router(&idle).await, cluster.router(&idle).await);
    let hash = one.create(ADA, "main", None).await;
    one.until_state(ADA, &hash, "running").await;
    two.until_state(ADA, &hash, "running").await;
    let acts = std::ptr::eq(reaper(&[&one, &two]).await, &one);
    let used = if acts { &two } else { &one };
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        assert_eq!(used.get(ADA, &hash, "/anything").await.0, StatusCode::OK, "after {:?}", begun.elapsed());
        sleep(Duration::from_millis(300)).await;
    }
    let last = Instant::now();
    used.until_state(ADA, &hash, "stopped").await;
    assert!(last.elapsed() > Duration::from_secs(2), "{:?} after it was used last", last.elapsed());
    one.end().await;
    two.end().await;
}

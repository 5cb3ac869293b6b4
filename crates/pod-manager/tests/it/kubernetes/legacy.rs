//! Sessions of the TypeScript router: no server Secret, the last activity on the Pod only, no desired state.

use kube::{ResourceExt, api::PostParams};
use pod_manager::{
    Credentials, SessionBackend,
    contract::WatchProbe,
    model::{Phase, Session, StopReason},
};
use serde_json::{Value, json};

use super::{cluster::TEST_TIMEOUT, contract::TestCluster};

pub(super) const ACTIVITY: &str = "2026-11-20T09:30:00.000Z";

fn metadata(name: &str, session: &Session) -> Value {
    let pod_manager::model::Source::Repository { url, branch, .. } = &session.source else { unreachable!() };
    json!({
        "name": format!("{name}-{}", session.hash),
        "labels": {
            "app.kubernetes.io/managed-by": "opencode-router",
            "opencode.ai/session-hash": session.hash.to_string(),
        },
        "annotations": {
            "opencode.ai/user-email": session.owner.email(),
            "opencode.ai/repo-url": url.as_str(),
            "opencode.ai/branch": branch.as_str(),
            "opencode.ai/initial-message": "Fix the tests",
            "opencode.ai/created-at": "2026-11-19T08:00:00.000Z",
        },
    })
}

/// Creates the objects of a session, with or without a Pod.
pub(super) async fn leave(test: &TestCluster, session: &Session, runs: bool) {
    let pvc = json!({
        "metadata": metadata("opencode-pvc", session),
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "2Gi" } } },
    });
    let pvc = serde_json::from_value(pvc).expect("a claim");
    test.node.pvcs().create(&PostParams::default(), &pvc).await.expect("created");
    let secret = json!({ "metadata": { "name": format!("opencode-github-{}", session.hash), "labels": metadata("x", session)["labels"] } });
    let secret = serde_json::from_value(secret).expect("a Secret");
    test.node.secrets().create(&PostParams::default(), &secret).await.expect("created");
    if !runs {
        return;
    }
    let mut metadata = metadata("opencode-session", session);
    metadata["annotations"]["opencode.ai/last-activity"] = ACTIVITY.into();
    let pod = json!({
        "metadata": metadata,
        "spec": {
            "initContainers": [{ "name": "git-init", "image": "registry.example/session:0" }],
            "containers": [{ "name": "opencode", "image": "registry.example/session:0" }],
            "volumes": [{ "name": "user-data", "persistentVolumeClaim": { "claimName": format!("opencode-pvc-{}", session.hash) } }],
        },
    });
    let pod = serde_json::from_value(pod).expect("a Pod");
    test.node.pods().create(&PostParams::default(), &pod).await.expect("created");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_session_of_the_typescript_router_is_served_stopped_resumed_and_deleted() {
    let Some(test) = TestCluster::new().await else { return };
    let session = test.session();
    leave(&test, &session, true).await;
    let backend = test.backend();
    let mut probe = WatchProbe::new(&*backend, TEST_TIMEOUT);
    let endpoint = probe.wait_running(session.hash).await;
    assert_eq!(endpoint.password, None, "it knows of no password");
    let seen = probe.status(session.hash).expect("listed");
    assert_eq!(seen.session.owner, session.owner);
    assert_eq!(seen.session.source, session.source);
    assert!(seen.first_prompt_sent, "the first message is not sent again");
    let activity: jiff::Timestamp = ACTIVITY.parse().expect("a time");
    assert_eq!(seen.last_activity, std::time::SystemTime::from(activity));

    // A start leaves a running session as it is.
    backend.start(&session, Credentials::NONE).await.expect("start");
    assert_eq!(WatchProbe::new(&*backend, TEST_TIMEOUT).wait_running(session.hash).await, endpoint);

    backend.stop(session.hash, StopReason::Idle).await.expect("stop");
    assert_eq!(probe.wait_stopped(session.hash).await.phase, Phase::Stopped(StopReason::Idle));
    backend.start(&session, Credentials::NONE).await.expect("resume");
    let resumed = probe.wait_running(session.hash).await;
    assert!(resumed.password.is_some(), "now it has one");
    let seen = probe.status(session.hash).expect("it runs");
    assert!(seen.first_prompt_sent, "the first message is not sent again");
    assert_eq!(seen.last_activity, std::time::SystemTime::from(activity), "what was known is not lost");
    assert_eq!(seen.session.initial_message.as_deref(), Some("Fix the tests"));

    backend.delete(session.hash).await.expect("delete");
    probe.wait_removed(session.hash).await;
    let github =
        test.node.secrets().get_opt(&format!("opencode-github-{}", session.hash)).await.expect("asked");
    assert!(github.is_none(), "the token goes too: {:?}", github.map(|secret| secret.name_any()));
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_session_of_the_typescript_router_is_listed_and_resumed() {
    let Some(test) = TestCluster::new().await else { return };
    let session = test.session();
    leave(&test, &session, false).await;
    let backend = test.backend();
    let mut probe = WatchProbe::new(&*backend, TEST_TIMEOUT);
    assert_eq!(probe.wait_stopped(session.hash).await.phase, Phase::Stopped(StopReason::Idle));
    backend.stop(session.hash, StopReason::Requested).await.expect("stop of what is stopped");
    backend.start(&session, Credentials::NONE).await.expect("resume");
    assert!(probe.wait_running(session.hash).await.password.is_some());
    assert!(probe.status(session.hash).expect("it runs").first_prompt_sent);
    backend.shutdown().await;
}

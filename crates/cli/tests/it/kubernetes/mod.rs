//! `--kube` against a real API server.

mod test_cluster;

use std::{path::Path, sync::Arc};

use api::wire::{Session, State};
use pod_manager::{
    Failure, FailureCode, KubernetesBackend, SessionBackend, StopReason, SystemClock,
    kubernetes::{desired::DesiredState, testing::now},
};
use serde_json::{Value, json};

use crate::{ALICE, REPO, output, program, running_session, soon, start_router};
use test_cluster::TestCluster;

const BOB: &str = "bob@example.com";

fn running() -> DesiredState {
    DesiredState::Running("r1".into())
}

#[tokio::test]
async fn list_and_show_have_the_sessions_of_all_users() {
    let Some(cluster) = TestCluster::find().await else { return };
    let one = cluster.create_session(ALICE, "fix", running()).await.hash.to_string();
    let two =
        cluster.create_session(BOB, "docs", DesiredState::Stopped(StopReason::Idle)).await.hash.to_string();
    let list = cluster.run(&["list"]).await;
    let lines: Vec<_> = list.success().lines().collect();
    assert_eq!(lines.len(), 3, "{list:?}");
    let fields = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(fields(lines[0])[..3], ["KEY", "STATE", "OWNER"]);
    for (key, state, owner) in [(&one, "running", ALICE), (&two, "stopped", BOB)] {
        let row = lines.iter().find(|line| line.starts_with(key.as_str())).expect("a row");
        assert_eq!(fields(row)[1..3], [state, owner], "{list:?}");
    }

    let json = cluster.run(&["list", "--user", "Bob@Example.com", "-o", "json"]).await;
    let list: Value = serde_json::from_str(json.success()).expect("JSON");
    assert_eq!(list["sessions"].as_array().map(Vec::len), Some(1), "{list}");
    let session = &list["sessions"][0];
    assert_eq!((session["hash"].as_str(), session["state"].as_str()), (Some(two.as_str()), Some("stopped")));
    for unknown in ["url", "idleTimeoutMinutes", "busy"] {
        assert_eq!(session.get(unknown), None, "the cluster does not know it");
    }
    let empty = cluster.run(&["list", "--user", "eve@example.com"]).await;
    assert_eq!(
        (empty.success(), empty.err.contains("no sessions of eve@example.com")),
        ("", true),
        "{empty:?}"
    );

    let show = cluster.run(&["show", &two[..5]]).await;
    for part in [
        "State:      stopped",
        "Owner:      bob@example.com",
        REPO,
        "The session was not used for the idle timeout.",
    ] {
        assert!(show.success().contains(part), "{part} in {show:?}");
    }
}

#[tokio::test]
async fn an_unreadable_claim_is_reported_and_hides_no_other() {
    let Some(cluster) = TestCluster::find().await else { return };
    let session = cluster.create_session(ALICE, "fix", running()).await;
    let unreadable = cluster.create_session(BOB, "odd", DesiredState::Stopped(StopReason::Idle)).await;
    let without_owner = json!({ "metadata": { "annotations": { "opencode.ai/user-email": null } } });
    let name = format!("opencode-pvc-{}", unreadable.hash);
    let pvcs = cluster.namespace.api::<k8s_openapi::api::core::v1::PersistentVolumeClaim>();
    pvcs.patch(&name, &kube::api::PatchParams::default(), &kube::api::Patch::Merge(without_owner))
        .await
        .expect("a patched claim");
    let list = cluster.run(&["list"]).await;
    assert!(list.success().contains(&session.hash.to_string()), "{list:?}");
    assert!(list.err.contains(&name) && list.err.contains("it has no owner"), "{list:?}");
}

#[tokio::test]
async fn a_stop_needs_no_router_and_keeps_the_files() {
    let Some(cluster) = TestCluster::find().await else { return };
    let hash = cluster.create_session(ALICE, "fix", running()).await.hash;
    let stop = cluster.run(&["stop", &hash.to_string()]).await;
    assert_eq!(stop.success(), hash.to_string());
    assert!(cluster.pod(hash).await.is_none(), "the Pod is deleted");
    assert_eq!(cluster.desired_state(hash).await, DesiredState::Stopped(StopReason::Requested));
    let again = cluster.run(&["stop", &hash.to_string(), "-o", "json"]).await;
    let session: Value = serde_json::from_str(again.success()).expect("JSON");
    assert_eq!(session["reason"]["code"], "requested");
}

#[tokio::test]
async fn a_resume_is_stored_and_carried_out_by_the_next_router() {
    let Some(cluster) = TestCluster::find().await else { return };
    let hash = cluster.create_session(ALICE, "fix", DesiredState::Stopped(StopReason::Idle)).await.hash;
    let resume = cluster.run(&["resume", &hash.to_string()]).await;
    resume.success();
    assert!(resume.err.contains("No router is running"), "{resume:?}");
    let DesiredState::Running(run) = cluster.desired_state(hash).await else {
        panic!("the desired state is not running")
    };
    // A second resume keeps the run.
    cluster.run(&["resume", &hash.to_string()]).await.success();
    assert_eq!(cluster.desired_state(hash).await, DesiredState::Running(run.clone()));

    let router = KubernetesBackend::start_up(
        cluster.namespace.client.clone(),
        cluster.namespace.settings.clone(),
        Arc::new(SystemClock),
    );
    let pod = soon(async {
        loop {
            match cluster.pod(hash).await {
                Some(pod) => break pod,
                None => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert_eq!(pod.metadata.annotations.expect("annotations")["opencode.ai/run"], run);
    router.shutdown().await;
}

#[tokio::test]
async fn a_failure_that_no_router_has_stored_is_shown_and_can_be_resumed() {
    let Some(cluster) = TestCluster::find().await else { return };
    let hash = cluster.create_session(ALICE, "fix", running()).await.hash;
    let terminated = json!({ "exitCode": 128, "reason": "Error", "startedAt": now(), "finishedAt": now() });
    cluster.set_pod_status(hash, json!({ "init": { "terminated": terminated } })).await;
    let show = cluster.run(&["show", &hash.to_string()]).await;
    assert!(show.success().contains("failed") && show.success().contains("exited with 128"), "{show:?}");
    // Without a router there is nothing to wait for.
    let resume = cluster.run(&["resume", &hash.to_string(), "--wait"]).await;
    resume.failure(1, "No router is running");
    assert!(
        matches!(cluster.desired_state(hash).await, DesiredState::Running(run) if run != "r1"),
        "another run is desired"
    );
}

#[tokio::test]
async fn with_a_running_router_a_resume_prints_no_warning() {
    let Some(cluster) = TestCluster::find().await else { return };
    cluster.create_lease().await;
    let hash = cluster.create_session(ALICE, "fix", DesiredState::Stopped(StopReason::Idle)).await.hash;
    let resume = cluster.run(&["resume", &hash.to_string()]).await;
    resume.success();
    assert!(resume.err.contains("is starting") && !resume.err.contains("No router"), "{resume:?}");
}

#[tokio::test]
async fn delete_removes_all_objects() {
    let Some(cluster) = TestCluster::find().await else { return };
    let hash = cluster.create_session(ALICE, "fix", running()).await.hash;
    let key = hash.to_string();
    let args = ["delete", &key, "--yes"];
    let (deleted, ()) = tokio::join!(cluster.run(&args), cluster.finalize_claim(hash));
    assert_eq!(deleted.success(), key);
    assert!(deleted.err.contains("is deleted."), "{deleted:?}");
    let secret = format!("opencode-github-{hash}");
    let secrets = cluster.namespace.api::<k8s_openapi::api::core::v1::Secret>();
    assert!(secrets.get_opt(&secret).await.expect("an answer").is_none());
    assert!(cluster.pvc(hash).await.is_none() && cluster.pod(hash).await.is_none());
    cluster.run(&["delete", &key, "--yes"]).await.failure(3, "no session");
    cluster.run(&["show", &key]).await.failure(3, cluster.namespace.name());
}

#[tokio::test]
async fn logs_of_a_failed_session_are_the_stored_ones() {
    let Some(cluster) = TestCluster::find().await else { return };
    let failure = Failure {
        code: FailureCode::CloneFailed,
        message: "git failed.".into(),
        advice: "Try again.".into(),
        log_tail: Some("one\ntwo\nfatal: three".into()),
    };
    let failed = cluster.create_session(ALICE, "fix", DesiredState::Failed(failure)).await.hash.to_string();
    let logs = cluster.run(&["logs", &failed, "-n", "2"]).await;
    assert_eq!(logs.success(), "two\nfatal: three");
    let show = cluster.run(&["show", &failed]).await;
    assert!(show.success().contains("git failed.") && show.success().contains("Try again."), "{show:?}");
    // Without a kubelet, no Pod's log can be read.
    let stopped =
        cluster.create_session(ALICE, "docs", DesiredState::Stopped(StopReason::Idle)).await.hash.to_string();
    let logs = cluster.run(&["logs", &stopped]).await;
    assert_eq!((logs.success(), logs.err.contains("The log is empty")), ("", true), "{logs:?}");
}

#[tokio::test]
async fn a_command_has_only_the_rights_of_its_caller() {
    let Some(cluster) = TestCluster::find().await else { return };
    let hash = cluster.create_session(ALICE, "fix", running()).await.hash;
    let key = hash.to_string();
    let rules = |verbs: &[&str]| {
        let resources = ["pods", "persistentvolumeclaims"];
        json!([{ "apiGroups": [""], "resources": resources, "verbs": verbs }])
    };
    let reader = cluster.user_with_rules("reader", rules(&["get", "list"])).await;
    let run = async |kubeconfig: &Path, args: &[&str]| {
        let mut command = cluster.program_as(kubeconfig);
        command.args(args).arg("--kube");
        output(command).await
    };
    assert!(run(&reader, &["list"]).await.success().contains(&key));
    assert!(run(&reader, &["show", &key]).await.success().contains("running"), "Events are not needed");
    for args in [&["stop", &key][..], &["delete", &key, "--yes"], &["logs", &key]] {
        let refused = run(&reader, args).await;
        refused.failure(4, "reader");
        assert!(refused.err.contains("kubectl auth can-i"), "{refused:?}");
    }
    assert!(
        cluster.pod(hash).await.is_some() && cluster.desired_state(hash).await == running(),
        "a refused command changes nothing"
    );
    // Without the right to delete Pods, the desired state is stored and a router deletes the Pod.
    let stopper = cluster.user_with_rules("stopper", rules(&["get", "list", "patch"])).await;
    let stopped = run(&stopper, &["stop", &key]).await;
    assert_eq!(stopped.success(), key);
    assert!(stopped.err.contains("is stopping"), "{stopped:?}");
    assert_eq!(cluster.desired_state(hash).await, DesiredState::Stopped(StopReason::Requested));
    let stranger = cluster.user_with_rules("stranger", json!([])).await;
    run(&stranger, &["list"]).await.failure(4, "cannot list");
}

#[tokio::test]
async fn resume_with_wait_ends_when_the_session_is_running() {
    let Some(cluster) = TestCluster::find().await else { return };
    let hash = cluster.create_session(ALICE, "fix", running()).await.hash.to_string();
    let wait = cluster.run(&["resume", &hash, "--wait", "-o", "json"]).await;
    let session: Value = serde_json::from_str(wait.success()).expect("JSON");
    assert_eq!(session["state"], "running");
    assert!(wait.err.contains(&format!("Session {hash} is running.")), "{wait:?}");
}

#[tokio::test]
async fn kubectls_plugin_uses_the_cluster_unless_server_is_given() {
    let Some(cluster) = TestCluster::find().await else { return };
    let hash = cluster.create_session(ALICE, "fix", running()).await.hash.to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = folder.path().join("kubectl-opencode");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_opencode-routerctl"), &plugin).expect("a link");
    let program = cluster.program();
    let plugin_with = |args: &[&str]| {
        let mut command = tokio::process::Command::new(&plugin);
        let env = program.as_std().get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.env_clear().envs(env).args(args);
        command
    };
    assert!(output(plugin_with(&["list"])).await.success().contains(&hash));
    output(plugin_with(&["create", REPO])).await.failure(2, "--server");
    let router = start_router().await;
    let own = running_session(&router, "own").await.to_string();
    let list = output(plugin_with(&["list", "--server", router.address()])).await;
    assert!(list.success().contains(&own) && !list.out.contains(&hash), "{list:?}");
}

#[tokio::test]
async fn arguments_that_exclude_each_other_are_refused() {
    for (args, part) in [
        (&["list", "--kube", "--server", "http://localhost:3000"][..], "--server"),
        (&["list", "--context", "production"], "--kube"),
        (&["list", "--namespace", "opencode"], "--kube"),
        (&["list", "--user", ALICE], "--kube"),
        (&["create", REPO, "--kube", "--kubeconfig", "/nowhere/config"], "/nowhere/config"),
        (&["list", "--kube", "--context", "production", "--kubeconfig", "/nowhere/config"], "--kubeconfig"),
    ] {
        let mut command = program("http://127.0.0.1:9");
        command.args(args);
        output(command).await.failure(2, part);
    }
}

#[tokio::test]
async fn an_unreachable_cluster_exits_with_5() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": { "server": "http://127.0.0.1:9" } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
        "users": [{ "name": "u", "user": {} }],
    });
    std::fs::write(&path, config.to_string()).expect("a file");
    let mut command = program("http://127.0.0.1:9");
    command.args(["list", "--kube", "--kubeconfig"]).arg(&path);
    let unreachable = output(command).await;
    unreachable.failure(5, "can't be reached");
    assert!(unreachable.err.contains("127.0.0.1:9"), "{unreachable:?}");
    let mut command = program("http://127.0.0.1:9");
    command.args(["list", "--kube", "--context", "other", "--kubeconfig"]).arg(&path);
    output(command).await.failure(2, "other");
}

#[tokio::test]
async fn a_clusters_session_has_the_apis_fields() {
    let Some(cluster) = TestCluster::find().await else { return };
    let hash = cluster.create_session(ALICE, "fix", running()).await.hash.to_string();
    let mut session: Value =
        serde_json::from_str(cluster.run(&["show", &hash, "-o", "json"]).await.success()).expect("JSON");
    session["url"] = Value::Null;
    session["idleTimeoutMinutes"] = 0.into();
    session["busy"] = false.into();
    let session: Session = serde_json::from_value(session).expect("a session");
    assert_eq!((session.state, session.description.as_deref()), (State::Running, Some("Fix it.")));
    assert!(session.stages.iter().all(|stage| stage.ended_at.is_some()), "{:?}", session.stages);
}

//! `--kube`: the cluster itself, by a real API server.

mod house;

use std::{path::Path, sync::Arc};

use api::wire::{Session, State};
use pod_manager::{
    Failure, FailureCode, KubernetesBackend, SessionBackend, StopReason, SystemClock,
    kubernetes::desired::DesiredState,
};
use serde_json::{Value, json};

use crate::{ALICE, REPO, output, program, router, running, soon};
use house::House;

const BOB: &str = "bob@example.com";

fn runs() -> DesiredState {
    DesiredState::Running("r1".into())
}

#[tokio::test]
async fn the_cluster_tells_everybodys_sessions() {
    let Some(house) = House::find().await else { return };
    let one = house.session(ALICE, "fix", runs()).await.hash.to_string();
    let two = house.session(BOB, "docs", DesiredState::Stopped(StopReason::Idle)).await.hash.to_string();
    let list = house.run(&["list"]).await;
    let lines: Vec<_> = list.well().lines().collect();
    assert_eq!(lines.len(), 3, "{list:?}");
    let fields = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(fields(lines[0])[..3], ["KEY", "STATE", "OWNER"]);
    for (key, state, owner) in [(&one, "running", ALICE), (&two, "stopped", BOB)] {
        let row = lines.iter().find(|line| line.starts_with(key.as_str())).expect("its row");
        assert_eq!(fields(row)[1..3], [state, owner], "{list:?}");
    }

    let json = house.run(&["list", "--user", "Bob@Example.com", "-o", "json"]).await;
    let list: Value = serde_json::from_str(json.well()).expect("JSON");
    assert_eq!(list["sessions"].as_array().map(Vec::len), Some(1), "{list}");
    let session = &list["sessions"][0];
    assert_eq!((session["hash"].as_str(), session["state"].as_str()), (Some(two.as_str()), Some("stopped")));
    for unknown in ["url", "idleTimeoutMinutes", "busy"] {
        assert_eq!(session.get(unknown), None, "the cluster does not know it, so it is not told");
    }
    let nobody = house.run(&["list", "--user", "eve@example.com"]).await;
    assert_eq!(
        (nobody.well(), nobody.err.contains("no sessions of eve@example.com")),
        ("", true),
        "{nobody:?}"
    );

    let show = house.run(&["show", &two[..5]]).await;
    for part in
        ["State:      stopped", "Owner:      bob@example.com", REPO, "Nobody used it for the idle timeout."]
    {
        assert!(show.well().contains(part), "{part} in {show:?}");
    }
}

#[tokio::test]
async fn a_claim_that_can_not_be_read_is_told_and_hides_no_other() {
    let Some(house) = House::find().await else { return };
    let session = house.session(ALICE, "fix", runs()).await;
    let strange = house.session(BOB, "odd", DesiredState::Stopped(StopReason::Idle)).await;
    let nobody = json!({ "metadata": { "annotations": { "opencode.ai/user-email": null } } });
    let name = format!("opencode-pvc-{}", strange.hash);
    let pvcs = house.api::<k8s_openapi::api::core::v1::PersistentVolumeClaim>();
    pvcs.patch(&name, &kube::api::PatchParams::default(), &kube::api::Patch::Merge(nobody))
        .await
        .expect("patched");
    let list = house.run(&["list"]).await;
    assert!(list.well().contains(&session.hash.to_string()), "{list:?}");
    assert!(list.err.contains(&name) && list.err.contains("whose it is"), "{list:?}");
}

#[tokio::test]
async fn a_stop_is_done_where_no_router_is_and_keeps_the_files() {
    let Some(house) = House::find().await else { return };
    let hash = house.session(ALICE, "fix", runs()).await.hash;
    let stop = house.run(&["stop", &hash.to_string()]).await;
    assert_eq!(stop.well(), hash.to_string());
    assert!(house.pod(hash).await.is_none(), "the Pod is gone");
    assert_eq!(house.wanted(hash).await, DesiredState::Stopped(StopReason::Requested));
    let again = house.run(&["stop", &hash.to_string(), "-o", "json"]).await;
    let session: Value = serde_json::from_str(again.well()).expect("JSON");
    assert_eq!(session["reason"]["code"], "requested");
}

#[tokio::test]
async fn a_resume_is_written_down_and_the_next_router_starts_it() {
    let Some(house) = House::find().await else { return };
    let hash = house.session(ALICE, "fix", DesiredState::Stopped(StopReason::Idle)).await.hash;
    let resume = house.run(&["resume", &hash.to_string()]).await;
    resume.well();
    assert!(resume.err.contains("No router is at work"), "{resume:?}");
    let DesiredState::Running(run) = house.wanted(hash).await else { panic!("it is to run") };
    // Twice is once.
    house.run(&["resume", &hash.to_string()]).await.well();
    assert_eq!(house.wanted(hash).await, DesiredState::Running(run.clone()));

    let router =
        KubernetesBackend::start_up(house.client.clone(), house.settings.clone(), Arc::new(SystemClock));
    let pod = soon(async {
        loop {
            match house.pod(hash).await {
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
async fn what_failed_and_no_router_has_written_down_is_told_and_can_be_resumed() {
    let Some(house) = House::find().await else { return };
    let hash = house.session(ALICE, "fix", runs()).await.hash;
    let failed = json!({ "terminated": { "exitCode": 128, "reason": "Error", "startedAt": "2026-11-25T10:00:00Z", "finishedAt": "2026-11-25T10:00:01Z" } });
    let init = json!({ "name": "git-init", "image": "i", "imageID": "i", "ready": false, "restartCount": 0, "state": failed });
    house
        .kubelet_says(
            hash,
            json!({ "phase": "Pending", "initContainerStatuses": [init], "containerStatuses": [] }),
        )
        .await;
    let show = house.run(&["show", &hash.to_string()]).await;
    assert!(show.well().contains("failed") && show.well().contains("exit code 128"), "{show:?}");
    // Nobody is there to wait for.
    let resume = house.run(&["resume", &hash.to_string(), "--wait"]).await;
    resume.badly(1, "No router is at work");
    assert!(
        matches!(house.wanted(hash).await, DesiredState::Running(run) if run != "r1"),
        "another run is wanted"
    );
}

#[tokio::test]
async fn with_a_router_at_work_a_resume_warns_of_nothing() {
    let Some(house) = House::find().await else { return };
    house.lease().await;
    let hash = house.session(ALICE, "fix", DesiredState::Stopped(StopReason::Idle)).await.hash;
    let resume = house.run(&["resume", &hash.to_string()]).await;
    resume.well();
    assert!(resume.err.contains("is starting") && !resume.err.contains("No router"), "{resume:?}");
}

#[tokio::test]
async fn delete_leaves_nothing() {
    let Some(house) = House::find().await else { return };
    let hash = house.session(ALICE, "fix", runs()).await.hash;
    let key = hash.to_string();
    let args = ["delete", &key, "--yes"];
    let (deleted, ()) = tokio::join!(house.run(&args), house.let_go(hash));
    assert_eq!(deleted.well(), key);
    assert!(deleted.err.contains("is deleted."), "{deleted:?}");
    let secret = format!("opencode-github-{hash}");
    let secrets = house.api::<k8s_openapi::api::core::v1::Secret>();
    assert!(secrets.get_opt(&secret).await.expect("an answer").is_none());
    assert!(house.pvc(hash).await.is_none() && house.pod(hash).await.is_none());
    house.run(&["delete", &key, "--yes"]).await.badly(3, "no session");
    house.run(&["show", &key]).await.badly(3, &house.settings.namespace);
}

#[tokio::test]
async fn logs_are_what_was_kept_of_what_failed() {
    let Some(house) = House::find().await else { return };
    let failure = Failure {
        code: FailureCode::CloneFailed,
        message: "git failed.".into(),
        advice: "Try again.".into(),
        log_tail: Some("one\ntwo\nfatal: three".into()),
    };
    let failed = house.session(ALICE, "fix", DesiredState::Failed(failure)).await.hash.to_string();
    let logs = house.run(&["logs", &failed, "-n", "2"]).await;
    assert_eq!(logs.well(), "two\nfatal: three");
    let wait = house.run(&["show", &failed]).await;
    assert!(wait.well().contains("git failed.") && wait.well().contains("Try again."), "{wait:?}");
    // No kubelet is there that could tell what a Pod wrote.
    let stopped =
        house.session(ALICE, "docs", DesiredState::Stopped(StopReason::Idle)).await.hash.to_string();
    let logs = house.run(&["logs", &stopped]).await;
    assert_eq!((logs.well(), logs.err.contains("Nothing was written yet")), ("", true), "{logs:?}");
}

#[tokio::test]
async fn the_callers_own_rights_count_and_no_others() {
    let Some(house) = House::find().await else { return };
    let hash = house.session(ALICE, "fix", runs()).await.hash;
    let key = hash.to_string();
    let look = |verbs: Value| json!([{ "apiGroups": [""], "resources": ["pods", "persistentvolumeclaims"], "verbs": verbs }]);
    let looker = house.who_may("looker", look(json!(["get", "list"]))).await;
    let run = async |kubeconfig: &Path, args: &[&str]| {
        let mut command = house.program_as(kubeconfig);
        command.args(args).arg("--kube");
        output(command).await
    };
    assert!(run(&looker, &["list"]).await.well().contains(&key));
    assert!(run(&looker, &["show", &key]).await.well().contains("running"), "without its Events");
    for args in [&["stop", &key][..], &["delete", &key, "--yes"], &["logs", &key]] {
        let refused = run(&looker, args).await;
        refused.badly(4, "looker");
        assert!(refused.err.contains("kubectl auth can-i"), "{refused:?}");
    }
    assert!(house.pod(hash).await.is_some() && house.wanted(hash).await == runs(), "nothing was half done");
    // Who may write down what is wanted, and remove no Pod, leaves that to a router.
    let stopper = house.who_may("stopper", look(json!(["get", "list", "patch"]))).await;
    let stopped = run(&stopper, &["stop", &key]).await;
    assert_eq!(stopped.well(), key);
    assert!(stopped.err.contains("is stopping"), "{stopped:?}");
    assert_eq!(house.wanted(hash).await, DesiredState::Stopped(StopReason::Requested));
    let stranger = house.who_may("stranger", json!([])).await;
    run(&stranger, &["list"]).await.badly(4, "cannot list");
}

#[tokio::test]
async fn waiting_tells_what_goes_on_and_how_it_ended() {
    let Some(house) = House::find().await else { return };
    let running = house.session(ALICE, "fix", runs()).await.hash.to_string();
    let wait = house.run(&["resume", &running, "--wait", "-o", "json"]).await;
    let session: Value = serde_json::from_str(wait.well()).expect("JSON");
    assert_eq!(session["state"], "running");
    assert!(wait.err.contains(&format!("Session {running} runs.")), "{wait:?}");
}

#[tokio::test]
async fn as_kubectls_plugin_it_asks_the_cluster_unless_a_router_is_named() {
    let Some(house) = House::find().await else { return };
    let hash = house.session(ALICE, "fix", runs()).await.hash.to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = folder.path().join("kubectl-opencode");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_opencode-routerctl"), &plugin).expect("a link");
    let like = house.program();
    let started = |args: &[&str]| {
        let mut command = tokio::process::Command::new(&plugin);
        command.env_clear().args(args);
        let set = like.as_std().get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.envs(set);
        command
    };
    assert!(output(started(&["list"])).await.well().contains(&hash));
    output(started(&["create", REPO])).await.badly(2, "--server");
    let router = router().await;
    let own = running(&router, "own").await.to_string();
    let list = output(started(&["list", "--server", router.address()])).await;
    assert!(list.well().contains(&own) && !list.out.contains(&hash), "{list:?}");
}

#[tokio::test]
async fn what_does_not_fit_together_is_said() {
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
        output(command).await.badly(2, part);
    }
}

#[tokio::test]
async fn a_cluster_that_is_away_is_told_as_that() {
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
    let away = output(command).await;
    away.badly(5, "can't be reached");
    assert!(away.err.contains("127.0.0.1:9"), "{away:?}");
    let mut command = program("http://127.0.0.1:9");
    command.args(["list", "--kube", "--context", "other", "--kubeconfig"]).arg(&path);
    output(command).await.badly(2, "other");
}

#[tokio::test]
async fn a_session_as_the_cluster_tells_it_is_one_of_the_api() {
    let Some(house) = House::find().await else { return };
    let hash = house.session(ALICE, "fix", runs()).await.hash.to_string();
    let mut session: Value =
        serde_json::from_str(house.run(&["show", &hash, "-o", "json"]).await.well()).expect("JSON");
    session["url"] = Value::Null;
    session["idleTimeoutMinutes"] = 0.into();
    session["busy"] = false.into();
    let session: Session = serde_json::from_value(session).expect("a session");
    assert_eq!((session.state, session.description.as_deref()), (State::Running, Some("Fix it.")));
    assert!(session.stages.iter().all(|stage| stage.ended_at.is_some()), "{:?}", session.stages);
}

#![expect(clippy::needless_pass_by_value, reason = "a table reads better without references")]

use serde_json::{Value, json};

use super::*;
use crate::model::FailureCode;

/// 2026-11-23T10:00:00Z.
fn created() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_428_000)
}

fn claim(phase: &str) -> PersistentVolumeClaim {
    serde_json::from_value(json!({
        "metadata": { "name": "opencode-pvc-a48da0606867" }, "status": { "phase": phase },
    }))
    .unwrap()
}

fn pod(status: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "opencode-session-a48da0606867", "uid": "u1", "creationTimestamp": "2026-11-23T10:00:00Z" },
        "status": status,
    }))
    .unwrap()
}

fn container_of(name: &str, restarts: u32, state: Value, last: Value) -> Value {
    json!({ "name": name, "image": "registry.example/session:1", "imageID": "", "ready": false, "restartCount": restarts,
        "state": state, "lastState": last })
}

fn init(state: Value) -> Value {
    json!({ "phase": "Pending", "initContainerStatuses": [container_of("git-init", 0, state, json!({}))] })
}

fn opencode(restarts: u32, state: Value, last: Value) -> Value {
    let cloned = json!({ "terminated": { "exitCode": 0, "reason": "Completed" } });
    json!({
        "phase": "Running", "podIP": "10.1.2.3",
        "initContainerStatuses": [container_of("git-init", 0, cloned, json!({}))],
        "containerStatuses": [container_of("opencode", restarts, state, last)],
    })
}

fn event(reason: &str, message: &str) -> Event {
    serde_json::from_value(json!({
        "metadata": { "name": "e1", "uid": "e1" }, "involvedObject": {}, "type": "Warning", "reason": reason, "message": message,
        "lastTimestamp": "2026-11-23T10:00:30Z",
    }))
    .unwrap()
}

fn state_after(seconds: u64, pod: &Pod, events: &[Event]) -> PodState {
    derive(&claim("Bound"), Some(pod), events, created(), created() + Duration::from_secs(seconds)).state
}

/// Asserts a failure for good, with these words in its message, and advice.
#[track_caller]
fn check_failed(status: Value, code: FailureCode, words: &str) {
    match state_after(5, &pod(status), &[]) {
        PodState::Failed(failure) => check_words(&failure, code, words),
        other => panic!("{code:?}: {other:?}"),
    }
}

/// Asserts a failure after `seconds` that may go away by itself.
#[track_caller]
fn check_blocked(seconds: u64, status: Value, events: &[Event], code: FailureCode, words: &str) {
    match state_after(seconds, &pod(status), events) {
        PodState::Blocked(failure) => check_words(&failure, code, words),
        other => panic!("{code:?}: {other:?}"),
    }
}

#[track_caller]
fn check_words(failure: &Failure, code: FailureCode, words: &str) {
    assert_eq!(failure.code, code, "{failure:?}");
    assert!(failure.message.contains(words), "{failure:?}");
    let is_sentence = |text: &str| text.ends_with('.') && !text.ends_with("..");
    assert!(is_sentence(&failure.message) && is_sentence(&failure.advice), "{failure:?}");
}

fn unschedulable_pod() -> Value {
    json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient memory." }] })
}

#[test]
fn a_failed_pod_says_why_it_failed() {
    use FailureCode as Code;
    check_failed(
        json!({ "phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory." }),
        Code::Evicted,
        "low on resource: memory",
    );
    check_failed(
        json!({ "phase": "Failed", "reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown." }),
        Code::NodeLost,
        "node",
    );
    check_failed(
        init(json!({ "terminated": { "exitCode": 128, "reason": "Error" } })),
        Code::CloneFailed,
        "128",
    );
    check_failed(
        init(json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } })),
        Code::OutOfMemory,
        "cloning",
    );
    check_failed(
        opencode(
            4,
            json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container" } }),
            json!({ "terminated": { "exitCode": 1, "reason": "Error" } }),
        ),
        Code::OpencodeCrashed,
        "4 times",
    );
    check_failed(
        opencode(
            2,
            json!({ "waiting": { "reason": "CrashLoopBackOff" } }),
            json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } }),
        ),
        Code::OutOfMemory,
        "memory",
    );
}

#[test]
fn a_clone_in_opencodes_container_that_failed_says_so() {
    use FailureCode as Code;
    let status = |state: Value, last: Value| json!({ "phase": "Running", "podIP": "10.1.2.3", "containerStatuses": [container_of("opencode", 1, state, last)] });
    let ended = |exit_code: i32, reason: &str, message: &str| json!({ "terminated": { "exitCode": exit_code, "reason": reason, "message": message } });
    let git = ended(128, "Error", "opencode-router: preparing the repository\n");
    check_failed(status(git.clone(), json!({})), Code::CloneFailed, "128");
    // Between two attempts, the last one counts.
    let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
    check_failed(status(waiting.clone(), git.clone()), Code::CloneFailed, "128");
    let starved = ended(137, "OOMKilled", "opencode-router: preparing the repository\n");
    check_failed(status(starved, json!({})), Code::OutOfMemory, "cloning");
    // An attempt that runs may succeed, and a crash of opencode itself is no failed clone.
    let running = json!({ "running": { "startedAt": "2026-11-23T10:01:00Z" } });
    assert!(matches!(state_after(5, &pod(status(running, git)), &[]), PodState::Running(_)));
    let crash = ended(128, "Error", "");
    assert_eq!(state_after(5, &pod(status(crash.clone(), json!({}))), &[]), PodState::Starting);
    check_failed(status(waiting, crash), Code::OpencodeCrashed, "crashed");
}

#[test]
fn a_blocked_pod_says_what_blocks_it() {
    use FailureCode as Code;
    for reason in ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"] {
        let waiting = json!({ "waiting": { "reason": reason, "message": "manifest unknown" } });
        check_blocked(5, init(waiting), &[], Code::ImagePullFailed, "manifest unknown");
    }
    check_blocked(61, unschedulable_pod(), &[], Code::Unschedulable, "Insufficient memory");
    let multi = event(
        "FailedAttachVolume",
        "Multi-Attach error for volume \"pv1\" Volume is already exclusively attached to one node",
    );
    check_blocked(61, json!({ "phase": "Pending" }), &[multi], Code::VolumeUnavailable, "Multi-Attach");
    let missing_class = event("ProvisioningFailed", "storageclass.storage.k8s.io \"fast\" not found");
    check_blocked(61, json!({ "phase": "Pending" }), &[missing_class], Code::VolumeUnavailable, "fast");
    let taint = json!({ "phase": "Running", "conditions": [{ "type": "DisruptionTarget", "status": "True",
        "reason": "DeletionByTaintManager" }] });
    check_blocked(5, taint, &[], Code::NodeLost, "gone");
    let missing = init(
        json!({ "waiting": { "reason": "CreateContainerConfigError", "message": "configmap \"x\" not found" } }),
    );
    assert_eq!(state_after(5, &pod(missing.clone()), &[]), PodState::Starting, "kubelet tries again");
    check_blocked(61, missing, &[], Code::BackendError, "configmap");
    // A container of the operator's patch blocks the Pod as any other.
    let mut sidecar = init(json!({ "terminated": { "exitCode": 0, "finishedAt": "2026-11-23T10:00:05Z" } }));
    sidecar["containerStatuses"] =
        json!([container_of("proxy", 3, json!({ "waiting": { "reason": "CrashLoopBackOff" } }), json!({}))]);
    check_blocked(70, sidecar, &[], Code::BackendError, "proxy keeps crashing");

    let lost = derive(&claim("Lost"), None, &[], created(), created());
    assert!(matches!(lost.state, PodState::Blocked(failure) if failure.code == Code::VolumeLost));
}

#[test]
fn a_delay_is_a_message_of_the_stage_before_it_is_a_failure() {
    let status = derive(
        &claim("Pending"),
        Some(&pod(unschedulable_pod())),
        &[],
        created(),
        created() + Duration::from_secs(20),
    );
    assert_eq!(status.state, PodState::Starting);
    assert!(status.stages[0].message.as_ref().is_some_and(|word| word.contains("Insufficient memory")));
    // A warning about the volume is over once the volume is mounted.
    let mounted = json!({ "phase": "Pending", "conditions": [{ "type": "PodReadyToStartContainers", "status": "True" }] });
    let event = event("FailedMount", "timed out");
    assert_eq!(state_after(600, &pod(mounted), &[event]), PodState::Starting);
}

#[test]
fn a_crash_that_kubelet_restarts_at_once_is_no_failure() {
    let ended = json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } });
    assert_eq!(state_after(5, &pod(opencode(0, ended, json!({}))), &[]), PodState::Starting);
    let restarted = opencode(1, json!({ "running": { "startedAt": "2026-11-23T10:01:00Z" } }), json!({}));
    let PodState::Running(container) = state_after(5, &pod(restarted), &[]) else {
        panic!("it does not run")
    };
    assert_eq!((container.address.to_string().as_str(), container.run_id.as_str()), ("10.1.2.3", "u1-1"));
}

#[test]
fn a_pod_or_claim_that_is_being_deleted_is_stopping() {
    let mut deleted = pod(opencode(0, json!({ "running": {} }), json!({})));
    deleted.metadata.deletion_timestamp = deleted.metadata.creation_timestamp.clone();
    assert_eq!(state_after(5, &deleted, &[]), PodState::Stopping);
    let mut claim = claim("Bound");
    claim.metadata.deletion_timestamp = deleted.metadata.creation_timestamp.clone();
    assert_eq!(derive(&claim, None, &[], created(), created()).state, PodState::Stopping);
}

#[test]
fn a_missing_volume_is_not_reported_as_a_lack_of_nodes() {
    let unbound = json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims." }] });
    let state = |claim: &PersistentVolumeClaim, pod: &Pod, events: &[Event]| {
        derive(claim, Some(pod), events, created(), created() + Duration::from_secs(61)).state
    };
    let check = |events: &[Event], status: &Value, code: FailureCode, words: &str| match state(
        &claim("Pending"),
        &pod(status.clone()),
        events,
    ) {
        PodState::Blocked(failure) => check_words(&failure, code, words),
        other => panic!("{other:?}"),
    };
    check(&[], &unbound, FailureCode::VolumeUnavailable, "unbound");
    let missing_class = event("ProvisioningFailed", "storageclass.storage.k8s.io \"fast\" not found");
    check(std::slice::from_ref(&missing_class), &unbound, FailureCode::VolumeUnavailable, "fast");
    check(&[missing_class], &unschedulable_pod(), FailureCode::VolumeUnavailable, "fast");
    check(&[], &unschedulable_pod(), FailureCode::Unschedulable, "Insufficient memory");
}

#[test]
fn any_warning_is_reported_while_no_container_has_started() {
    let sandbox =
        event("FailedCreatePodSandBox", "failed to setup network for sandbox: no IP addresses available");
    let waiting = init(json!({ "waiting": { "reason": "PodInitializing" } }));
    assert_eq!(state_after(40, &pod(waiting.clone()), std::slice::from_ref(&sandbox)), PodState::Starting);
    check_blocked(61, waiting, std::slice::from_ref(&sandbox), FailureCode::BackendError, "no IP addresses");
    // An old warning does not count, and neither does any while a container runs.
    assert_eq!(
        state_after(600, &pod(init(json!({ "waiting": {} }))), std::slice::from_ref(&sandbox)),
        PodState::Starting
    );
    assert_eq!(state_after(61, &pod(init(json!({ "running": {} }))), &[sandbox]), PodState::Starting);
}

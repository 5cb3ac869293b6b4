#![expect(clippy::needless_pass_by_value, reason = "a table reads better without references")]

use serde_json::{Value, json};

use super::*;

/// 2026-11-23T10:00:00Z.
fn made() -> SystemTime {
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
    derive(&claim("Bound"), Some(pod), events, made(), made() + Duration::from_secs(seconds)).state
}

/// Fails for good, with these words in its message; and says what to do.
#[track_caller]
fn check_failed(status: Value, code: FailureCode, words: &str) {
    match state_after(5, &pod(status), &[]) {
        PodState::Failed(failure) => check_words(&failure, code, words),
        other => panic!("{code:?}: {other:?}"),
    }
}

/// Is in the way after `seconds`, and may go away by itself.
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
fn what_is_over_is_told_for_what_it_was() {
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
fn what_is_in_the_way_is_told_and_may_go_away() {
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
    let none = event("ProvisioningFailed", "storageclass.storage.k8s.io \"fast\" not found");
    check_blocked(61, json!({ "phase": "Pending" }), &[none], Code::VolumeUnavailable, "fast");
    let taint = json!({ "phase": "Running", "conditions": [{ "type": "DisruptionTarget", "status": "True",
        "reason": "DeletionByTaintManager" }] });
    check_blocked(5, taint, &[], Code::NodeLost, "gone");
    let missing = init(
        json!({ "waiting": { "reason": "CreateContainerConfigError", "message": "configmap \"x\" not found" } }),
    );
    assert_eq!(state_after(5, &pod(missing.clone()), &[]), PodState::Starting, "kubelet tries again");
    check_blocked(61, missing, &[], Code::BackendError, "configmap");
    // A container of the operator's patch is in the way as any other.
    let mut sidecar = init(json!({ "terminated": { "exitCode": 0, "finishedAt": "2026-11-23T10:00:05Z" } }));
    sidecar["containerStatuses"] =
        json!([container_of("proxy", 3, json!({ "waiting": { "reason": "CrashLoopBackOff" } }), json!({}))]);
    check_blocked(70, sidecar, &[], Code::BackendError, "proxy ends again and again");

    let lost = derive(&claim("Lost"), None, &[], made(), made());
    assert!(matches!(lost.state, PodState::Blocked(failure) if failure.code == Code::VolumeLost));
}

#[test]
fn what_takes_its_time_is_a_word_before_it_is_a_failure() {
    let sight = derive(
        &claim("Pending"),
        Some(&pod(unschedulable_pod())),
        &[],
        made(),
        made() + Duration::from_secs(20),
    );
    assert_eq!(sight.state, PodState::Starting);
    assert!(sight.stages[0].message.as_ref().is_some_and(|word| word.contains("Insufficient memory")));
    // Once the volume is there, what was said of it counts no more.
    let mounted = json!({ "phase": "Pending", "conditions": [{ "type": "PodReadyToStartContainers", "status": "True" }] });
    let event = event("FailedMount", "timed out");
    assert_eq!(state_after(600, &pod(mounted), &[event]), PodState::Starting);
}

#[test]
fn an_end_that_kubelet_mends_at_once_is_no_failure() {
    let ended = json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } });
    assert_eq!(state_after(5, &pod(opencode(0, ended, json!({}))), &[]), PodState::Starting);
    let again = opencode(1, json!({ "running": { "startedAt": "2026-11-23T10:01:00Z" } }), json!({}));
    let PodState::Running(up) = state_after(5, &pod(again), &[]) else { panic!("it runs again") };
    assert_eq!((up.address.to_string().as_str(), up.run_id.as_str()), ("10.1.2.3", "u1-1"));
}

#[test]
fn a_pod_or_claim_that_goes_is_stopping() {
    let mut going = pod(opencode(0, json!({ "running": {} }), json!({})));
    going.metadata.deletion_timestamp = going.metadata.creation_timestamp.clone();
    assert_eq!(state_after(5, &going, &[]), PodState::Stopping);
    let mut claim = claim("Bound");
    claim.metadata.deletion_timestamp = going.metadata.creation_timestamp.clone();
    assert_eq!(derive(&claim, None, &[], made(), made()).state, PodState::Stopping);
}

#[test]
fn a_volume_that_can_not_be_made_is_told_as_that_and_not_as_a_lack_of_nodes() {
    let unbound = json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims." }] });
    let sight = |claim: &PersistentVolumeClaim, pod: &Pod, events: &[Event]| {
        derive(claim, Some(pod), events, made(), made() + Duration::from_secs(61)).state
    };
    let check = |events: &[Event], status: &Value, code: FailureCode, words: &str| match sight(
        &claim("Pending"),
        &pod(status.clone()),
        events,
    ) {
        PodState::Blocked(failure) => check_words(&failure, code, words),
        other => panic!("{other:?}"),
    };
    check(&[], &unbound, FailureCode::VolumeUnavailable, "unbound");
    let none = event("ProvisioningFailed", "storageclass.storage.k8s.io \"fast\" not found");
    check(std::slice::from_ref(&none), &unbound, FailureCode::VolumeUnavailable, "fast");
    check(&[none], &unschedulable_pod(), FailureCode::VolumeUnavailable, "fast");
    check(&[], &unschedulable_pod(), FailureCode::Unschedulable, "Insufficient memory");
}

#[test]
fn whatever_the_cluster_warns_of_is_told_while_nothing_begins() {
    let sandbox =
        event("FailedCreatePodSandBox", "failed to setup network for sandbox: no IP addresses available");
    let waiting = init(json!({ "waiting": { "reason": "PodInitializing" } }));
    assert_eq!(state_after(40, &pod(waiting.clone()), std::slice::from_ref(&sandbox)), PodState::Starting);
    check_blocked(61, waiting, std::slice::from_ref(&sandbox), FailureCode::BackendError, "no IP addresses");
    // What was long ago is over, and what runs is not in anything's way.
    assert_eq!(
        state_after(600, &pod(init(json!({ "waiting": {} }))), std::slice::from_ref(&sandbox)),
        PodState::Starting
    );
    assert_eq!(state_after(61, &pod(init(json!({ "running": {} }))), &[sandbox]), PodState::Starting);
}

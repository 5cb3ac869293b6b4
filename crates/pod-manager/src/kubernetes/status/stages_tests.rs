#![expect(clippy::needless_pass_by_value, reason = "a table reads better without references")]

use std::time::Duration;

use serde_json::json;

use super::*;

fn at(second: u64) -> SystemTime {
    // 2026-11-23T10:00:00Z
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_428_000 + second)
}

fn pod(status: serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "opencode-session-a48da0606867", "uid": "u1", "creationTimestamp": "2026-11-23T10:00:00Z" },
        "status": status,
    }))
    .unwrap()
}

/// `(stage, started, ended)`, in seconds.
#[track_caller]
fn check(pod: Option<&Pod>, events: &[Event], expected: &[(Stage, Option<u64>, Option<u64>)]) {
    let seconds = |time: Option<SystemTime>| time.map(|time| time.duration_since(at(0)).unwrap().as_secs());
    let found: Vec<_> = stages(at(0), pod, events)
        .iter()
        .map(|record| (record.stage, seconds(record.started), seconds(record.ended)))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_start_goes_through_its_stages() {
    let to_come = |stage| (stage, None, None);
    let condition = |kind: &str, second: u64| json!({ "type": kind, "status": "True", "lastTransitionTime": format!("2026-11-23T10:00:{second:02}Z") });
    let container = |name: &str, state: serde_json::Value| json!({ "name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state });
    let later = [Stage::Scheduled, Stage::Volume, Stage::Image, Stage::Cloning, Stage::Starting].map(to_come);
    // Before there is a Pod.
    check(None, &[], &[&[(Stage::Queued, Some(0), None)], &later[..]].concat());

    let scheduled = pod(json!({ "conditions": [condition("PodScheduled", 2)] }));
    check(
        Some(&scheduled),
        &[],
        &[
            (Stage::Queued, Some(0), Some(2)),
            (Stage::Scheduled, Some(2), Some(2)),
            (Stage::Volume, Some(2), None),
            to_come(Stage::Image),
            to_come(Stage::Cloning),
            to_come(Stage::Starting),
        ],
    );

    // The image is pulled while the conditions do not show the volume yet.
    let pulling: Event = serde_json::from_value(json!({
        "metadata": { "name": "e1", "uid": "e1" }, "involvedObject": {}, "reason": "Pulling", "type": "Normal",
        "lastTimestamp": "2026-11-23T10:00:04Z",
    }))
    .unwrap();
    check(
        Some(&scheduled),
        std::slice::from_ref(&pulling),
        &[
            (Stage::Queued, Some(0), Some(2)),
            (Stage::Scheduled, Some(2), Some(2)),
            (Stage::Volume, Some(2), Some(4)),
            (Stage::Image, Some(4), None),
            to_come(Stage::Cloning),
            to_come(Stage::Starting),
        ],
    );

    let serving = pod(json!({
        "conditions": [condition("PodScheduled", 2), condition("PodReadyToStartContainers", 5)],
        "initContainerStatuses": [container("git-init", json!({ "terminated": {
            "exitCode": 0, "startedAt": "2026-11-23T10:00:08Z", "finishedAt": "2026-11-23T10:00:12Z" } }))],
        "containerStatuses": [container("opencode", json!({ "running": { "startedAt": "2026-11-23T10:00:13Z" } }))],
    }));
    check(
        Some(&serving),
        &[pulling],
        &[
            (Stage::Queued, Some(0), Some(2)),
            (Stage::Scheduled, Some(2), Some(2)),
            (Stage::Volume, Some(2), Some(4)),
            (Stage::Image, Some(4), Some(8)),
            (Stage::Cloning, Some(8), Some(13)),
            (Stage::Starting, Some(13), None),
        ],
    );
}

#[test]
fn a_clone_in_opencodes_container_ends_when_the_router_sees_it() {
    let serving = pod(json!({
        "containerStatuses": [{ "name": "opencode", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
            "state": { "running": { "startedAt": "2026-11-23T10:00:08Z" } } }],
    }));
    let mut records = stages(at(0), Some(&serving), &[]);
    assert_eq!((records[4].started, records[4].ended), (Some(at(8)), None));
    assert_eq!(records[5].started, None);
    end_clone(&mut records, at(12));
    end_clone(&mut records, at(20));
    assert_eq!((records[4].started, records[4].ended), (Some(at(8)), Some(at(12))));
    assert_eq!((records[5].started, records[5].ended), (Some(at(12)), None));
}

#[test]
fn stages_keep_their_order_if_clocks_disagree() {
    let serving = pod(json!({
        "conditions": [{ "type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-23T09:59:50Z" }],
        "initContainerStatuses": [{ "name": "git-init", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "running": { "startedAt": "2026-11-23T09:59:40Z" } } }],
    }));
    let records = stages(at(0), Some(&serving), &[]);
    assert!(records.iter().filter_map(|record| record.started).all(|started| started == at(0)));
    assert_eq!(records.iter().filter(|record| record.started.is_some() && record.ended.is_none()).count(), 1);
}

#[test]
fn an_event_of_an_earlier_pod_does_not_count() {
    let earlier: Event = serde_json::from_value(json!({
        "metadata": { "name": "e1", "uid": "e1" }, "involvedObject": {}, "reason": "Pulling", "lastTimestamp": "2026-11-23T09:00:00Z",
    }))
    .unwrap();
    let fresh = pod(json!({}));
    assert_eq!(stages(at(0), Some(&fresh), &[earlier])[3].started, None);
}

#[test]
fn a_clone_ends_when_it_has_ended_and_not_when_opencode_restarts() {
    let container = |name: &str, restarts: u32, state: serde_json::Value| json!({ "name": name, "image": "i", "imageID": "", "ready": true, "restartCount": restarts, "state": state });
    let cloned = json!({ "terminated": { "exitCode": 0, "startedAt": "2026-11-23T10:00:08Z", "finishedAt": "2026-11-23T10:00:12Z" } });
    let serving = json!({ "running": { "startedAt": "2026-11-23T12:00:00Z" } });
    let restarted = pod(json!({
        "initContainerStatuses": [container("git-init", 0, cloned)],
        "containerStatuses": [container("opencode", 1, serving)],
    }));
    let records = stages(at(0), Some(&restarted), &[]);
    assert_eq!((records[4].started, records[4].ended), (Some(at(8)), Some(at(12))));
    assert_eq!((records[5].started, records[5].ended), (Some(at(7200)), None));
}

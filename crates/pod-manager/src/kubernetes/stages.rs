//! How far a Pod's start is, from its conditions, container statuses and Events.

use std::time::SystemTime;

use k8s_openapi::{
    api::core::v1::{ContainerStatus, Event, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::sight::{condition, container, event_time, wall};
use crate::model::{Stage, StageRecord};

/// All stages but `Ready`; those that have not begun have no time.
pub(super) fn stages(pod: &Pod, events: &[Event]) -> Vec<StageRecord> {
    let created = pod.metadata.creation_timestamp.as_ref().map(wall);
    let scheduled = became_true(pod, "PodScheduled");
    // The sandbox stands and the volumes are mounted: kubelet's PodReadyToStartContainers (KEP-3085).
    let mounted = became_true(pod, "PodReadyToStartContainers").or_else(|| clone_time(pod).0);
    let pulling = event_named(events, "Pulling", created);
    let pulled = event_named(events, "Pulled", created);
    let (clone_began, clone_ended) = clone_time(pod);
    let serve_began = container(pod, "opencode").and_then(began);

    let image_began = pulling.or(mounted);
    let image_ended = image_began.and(pulled.or(clone_began)).map(|at| at.max(image_began.unwrap_or(at)));
    [
        (Stage::Queued, created, scheduled),
        (Stage::Scheduled, scheduled, scheduled),
        (Stage::Volume, scheduled, mounted),
        (Stage::Image, image_began, image_ended),
        (Stage::Cloning, clone_began, clone_ended),
        (Stage::Starting, serve_began, None),
    ]
    .into_iter()
    .map(|(stage, started, ended)| StageRecord {
        stage,
        started,
        ended,
        message: None,
        percent: None,
        bytes: None,
    })
    .collect()
}

fn clone_time(pod: &Pod) -> (Option<SystemTime>, Option<SystemTime>) {
    let init = container(pod, "git-init");
    let ended =
        init.and_then(|init| init.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(wall));
    (init.and_then(began), ended)
}

fn began(container: &ContainerStatus) -> Option<SystemTime> {
    let state = container.state.as_ref()?;
    let running = state.running.as_ref().and_then(|running| running.started_at.as_ref());
    running.or_else(|| state.terminated.as_ref()?.started_at.as_ref()).map(wall)
}

fn became_true(pod: &Pod, name: &str) -> Option<SystemTime> {
    let condition = condition(pod, name).filter(|condition| condition.status == "True")?;
    condition.last_transition_time.as_ref().map(wall)
}

fn event_named(events: &[Event], reason: &str, since: Option<SystemTime>) -> Option<SystemTime> {
    let times = events.iter().filter(|event| event.reason.as_deref() == Some(reason)).filter_map(event_time);
    times.map(|at| wall(&Time(at))).filter(|at| Some(*at) >= since).max()
}

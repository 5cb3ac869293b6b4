//! How far a Pod's start is, from its conditions, container statuses and Events.

use std::time::SystemTime;

use k8s_openapi::{
    api::core::v1::{ContainerStatus, Event, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::fields::{condition, container, event_time, wall};
use crate::model::{Stage, StageRecord};

const STAGES: [Stage; 6] =
    [Stage::Queued, Stage::Scheduled, Stage::Volume, Stage::Image, Stage::Cloning, Stage::Starting];

/// All stages but `Ready`, which the router alone can see. One is under way at most: a stage ends when the next one
/// begins, and none begins before the one before it (the cluster's clocks are those of several machines, to the second).
///
/// `queued`: since when the start is wanted.
pub(super) fn stages(queued: SystemTime, pod: Option<&Pod>, events: &[Event]) -> Vec<StageRecord> {
    let mut begun = pod.map_or([None; STAGES.len()], |pod| beginnings(pod, events));
    begun[0] = Some(queued);
    // What came later says that what is before it has begun too.
    let last = begun.iter().rposition(Option::is_some).unwrap_or(0);
    let mut records = Vec::with_capacity(STAGES.len());
    let mut latest = queued;
    for (at, stage) in STAGES.into_iter().enumerate() {
        let started = (at <= last).then(|| {
            latest = begun[at].map_or(latest, |begun| begun.max(latest));
            latest
        });
        records.push(StageRecord { stage, started, ended: None, message: None, percent: None, bytes: None });
    }
    for at in 0..last {
        records[at].ended = records[at + 1].started;
    }
    // opencode may have been started again, long after the clone.
    let is_again = |pod: &&Pod| container(pod, "opencode").is_some_and(|opencode| opencode.restart_count > 0);
    let clone = records.iter_mut().find(|record| record.stage == Stage::Cloning && record.ended.is_some());
    if let Some((clone, cloned)) = clone.zip(pod.filter(is_again).and_then(cloned)) {
        clone.ended = clone.started.map(|started| started.max(cloned));
    }
    records
}

/// When each stage began, as far as something tells.
fn beginnings(pod: &Pod, events: &[Event]) -> [Option<SystemTime>; STAGES.len()] {
    let created = pod.metadata.creation_timestamp.as_ref().map(wall);
    let scheduled = became_true(pod, "PodScheduled");
    // The sandbox stands and the volumes are mounted: kubelet's PodReadyToStartContainers (KEP-3085).
    let mounted = became_true(pod, "PodReadyToStartContainers");
    let pulling = event_named(events, "Pulling", created);
    let (clone, serve) = (container(pod, "git-init"), container(pod, "opencode"));
    let cloned = cloned(pod);
    [
        created,
        scheduled,
        // The scheduler's choice and the volume's way begin together.
        scheduled,
        pulling.or(mounted),
        clone.and_then(began),
        // Once the clone is there, it is opencode's turn, whatever its container still waits for.
        serve.and_then(began).or(cloned),
    ]
}

/// When the clone was there.
fn cloned(pod: &Pod) -> Option<SystemTime> {
    container(pod, "git-init")?.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(wall)
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

#[cfg(test)]
#[path = "stages_tests.rs"]
mod tests;

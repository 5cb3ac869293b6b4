//! How far the start of a Pod is, from its conditions, container statuses and Events.

use std::time::SystemTime;

use k8s_openapi::{
    api::core::v1::{ContainerStatus, Event, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::fields::{condition, container, created_at, event_time, wall};
use crate::model::{Stage, StageRecord};

const STAGES: [Stage; 6] =
    [Stage::Queued, Stage::Scheduled, Stage::Volume, Stage::Image, Stage::Cloning, Stage::Starting];

/// Returns all stages but `Ready`, which only the router can see. At most one is active: a stage ends when
/// the next one starts, and none starts before the one before it (the times are from several machines'
/// clocks, in whole seconds).
///
/// The start was queued at `queued`.
pub(super) fn stages(queued: SystemTime, pod: Option<&Pod>, events: &[Event]) -> Vec<StageRecord> {
    let mut starts = pod.map_or([None; STAGES.len()], |pod| stage_starts(pod, events));
    starts[0] = Some(queued);
    // A stage has started if a later one has.
    let last = starts.iter().rposition(Option::is_some).unwrap_or(0);
    let mut records = Vec::with_capacity(STAGES.len());
    let mut latest = queued;
    for (index, stage) in STAGES.into_iter().enumerate() {
        let started = (index <= last).then(|| {
            latest = starts[index].map_or(latest, |start| start.max(latest));
            latest
        });
        records.push(StageRecord { stage, started, ended: None, message: None, percent: None, bytes: None });
    }
    for index in 0..last {
        records[index].ended = records[index + 1].started;
    }
    // opencode may have been restarted long after the clone ended.
    let has_restarted =
        |pod: &&Pod| container(pod, "opencode").is_some_and(|opencode| opencode.restart_count > 0);
    let clone = records.iter_mut().find(|record| record.stage == Stage::Cloning && record.ended.is_some());
    if let Some((clone, cloned_at)) = clone.zip(pod.filter(has_restarted).and_then(cloned_at)) {
        clone.ended = clone.started.map(|started| started.max(cloned_at));
    }
    records
}

/// Returns when each stage started, if the objects say so.
fn stage_starts(pod: &Pod, events: &[Event]) -> [Option<SystemTime>; STAGES.len()] {
    let created = created_at(pod);
    let scheduled = became_true(pod, "PodScheduled");
    // The sandbox exists and the volumes are mounted: kubelet's PodReadyToStartContainers (KEP-3085).
    let mounted = became_true(pod, "PodReadyToStartContainers");
    let pulling = event_named(events, "Pulling", created);
    let (init, opencode) = (container(pod, "git-init"), container(pod, "opencode"));
    [
        created,
        scheduled,
        // The volume is attached as soon as the node is chosen.
        scheduled,
        pulling.or(mounted),
        init.or(opencode).and_then(started_at),
        // Once the clone has ended, the stage is opencode's, whatever its container still waits for. Without
        // an init container, the objects do not say when that is.
        init.and_then(|_| opencode.and_then(started_at).or_else(|| cloned_at(pod))),
    ]
}

/// Ends the clone in opencode's container at this time, if it has not ended.
pub(super) fn end_clone(records: &mut [StageRecord], at: SystemTime) {
    let Some(clone) = records.iter_mut().find(|record| record.stage == Stage::Cloning) else { return };
    let (Some(started), None) = (clone.started, clone.ended) else { return };
    let at = at.max(started);
    clone.ended = Some(at);
    if let Some(starting) = records.iter_mut().find(|record| record.stage == Stage::Starting) {
        starting.started = Some(at);
    }
}

/// Returns when the clone ended.
fn cloned_at(pod: &Pod) -> Option<SystemTime> {
    container(pod, "git-init")?.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(wall)
}

fn started_at(container: &ContainerStatus) -> Option<SystemTime> {
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

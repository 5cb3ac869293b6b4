//! The state of a session's Pod: a pure function of PersistentVolumeClaim, Pod and Events.
//!
//! The order of the checks in [`derive()`] is the state machine: the first one that applies decides.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};

use super::{
    failure::{self, Delay},
    fields::{container, created_at, wall},
    stages::stages,
};
use crate::model::{Failure, StageRecord};

/// How long a start may be delayed before the delay is reported as a failure: the cluster may be adding a
/// node, and a volume has to be released by its last node first.
const GRACE: Duration = Duration::from_secs(60);

/// The status of a session's Pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodStatus {
    /// The Pod's state.
    pub state: PodState,
    /// How far the start is, without the stage `Ready`, which only the router can see.
    pub stages: Vec<StageRecord>,
}

/// The state of a session's Pod, as far as the objects say.
#[derive(Debug, Clone, PartialEq)]
pub enum PodState {
    /// There is no Pod.
    Stopped,
    /// The Pod is starting.
    Starting,
    /// opencode's process runs. The objects do not say whether it is healthy.
    Running(RunningContainer),
    /// The Pod (or the claim) is being deleted.
    Stopping,
    /// The start is blocked. kubelet and scheduler continue to try, so the failure may go away by itself.
    Blocked(Failure),
    /// The Pod has failed and is not tried again.
    Failed(Failure),
}

/// The container in which opencode runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningContainer {
    /// The Pod's address.
    pub address: IpAddr,
    /// Identifies this process: the Pod's UID, and how often the container was restarted.
    pub run_id: String,
    /// When the process started.
    pub started_at: SystemTime,
}

/// Derives the Pod's status at the time `now`. The start was queued at `queued`; `events` are those about the
/// Pod or the claim, in any order.
#[must_use]
pub fn derive(
    pvc: &PersistentVolumeClaim,
    pod: Option<&Pod>,
    events: &[Event],
    queued: SystemTime,
    now: SystemTime,
) -> PodStatus {
    let mut stages = stages(queued, pod, events);
    let state = if pvc.metadata.deletion_timestamp.is_some() {
        PodState::Stopping
    } else if failure::pvc_phase(pvc) == Some("Lost") {
        PodState::Blocked(failure::volume_lost())
    } else {
        pod.map_or(PodState::Stopped, |pod| state(pvc, pod, events, now, &mut stages))
    };
    PodStatus { state, stages }
}

fn state(
    pvc: &PersistentVolumeClaim,
    pod: &Pod,
    events: &[Event],
    now: SystemTime,
    stages: &mut [StageRecord],
) -> PodState {
    if failure::is_node_lost(pod) {
        return PodState::Blocked(failure::node_lost());
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return PodState::Stopping;
    }
    if let Some(failure) = failure::of_pod(pod) {
        return PodState::Failed(failure);
    }
    if let Some(failure) = failure::image_pull(pod) {
        return PodState::Blocked(failure);
    }
    if let Some(container) = running(pod) {
        return PodState::Running(container);
    }
    let Some(Delay { since, failure }) = failure::delay(pvc, pod, events, now, 2 * GRACE) else {
        return PodState::Starting;
    };
    if now.duration_since(since).is_ok_and(|waited| waited >= GRACE) {
        return PodState::Blocked(failure);
    }
    if let Some(stage) = stages.iter_mut().find(|stage| stage.started.is_some() && stage.ended.is_none()) {
        stage.message = Some(failure.message);
    }
    PodState::Starting
}

fn running(pod: &Pod) -> Option<RunningContainer> {
    let opencode = container(pod, "opencode")?;
    let running = opencode.state.as_ref()?.running.as_ref()?;
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let started_at = running.started_at.as_ref().map(wall).or(created_at(pod));
    Some(RunningContainer {
        address: pod.status.as_ref()?.pod_ip.as_deref()?.parse().ok()?,
        run_id: format!("{uid}-{}", opencode.restart_count),
        started_at: started_at.unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;

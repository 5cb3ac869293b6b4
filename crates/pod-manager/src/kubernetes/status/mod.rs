//! What a session's objects mean: a pure function of the objects and of what this router has probed.

mod failure;
pub(super) mod fields;
pub mod pod;
mod stages;

use std::{sync::Arc, time::SystemTime};

use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};

use self::{
    fields::created_at,
    pod::{PodState, RunningContainer},
    stages::end_clone,
};
use super::{
    desired::{Desired, DesiredState, run_of},
    session::{attach_tokens, first_prompt_sent, last_activity},
};
use crate::{
    git_output::Progress,
    model::{Endpoint, Failure, FailureCode, Phase, Session, SessionStatus, Stage, StopReason},
};

/// What this router has found out about a session's Pod, which no object says.
#[derive(Debug, Clone, Default)]
pub(super) struct ProbeResults {
    /// The run whose opencode is healthy.
    pub(super) ready: Option<Ready>,
    /// The run whose opencode did not become healthy in time.
    pub(super) unresponsive: Option<Unresponsive>,
    /// How far the clone is.
    pub(super) clone: Option<Clone>,
}

/// A clone, by its log.
#[derive(Debug, Clone)]
pub(super) struct Clone {
    /// The Pod's UID if an init container clones, else the run.
    pub(super) id: String,
    /// How far it is.
    pub(super) progress: Option<Progress>,
    /// When its end was seen.
    pub(super) ended: Option<SystemTime>,
}

/// A healthy opencode.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub(super) run_id: String,
    pub(super) endpoint: Endpoint,
    pub(super) at: SystemTime,
}

/// An opencode that is not healthy.
#[derive(Debug, Clone)]
pub(super) struct Unresponsive {
    pub(super) run_id: String,
    pub(super) failure: Failure,
    /// The run has failed: it started lately and was never healthy. Any other run may be in use where this
    /// router can't reach it, so it continues, and is probed further.
    pub(super) has_failed: bool,
}

impl ProbeResults {
    /// Returns whether this run is known to be healthy.
    pub(super) fn is_ready(&self, run_id: &str) -> bool {
        self.ready.as_ref().is_some_and(|ready| ready.run_id == run_id)
    }

    /// Returns whether this run needs no further probe.
    pub(super) fn is_final(&self, run_id: &str) -> bool {
        self.is_ready(run_id) || self.unresponsive(run_id).is_some_and(|result| result.has_failed)
    }

    /// Returns whether this run is known to clone: opencode has not been started.
    pub(super) fn is_cloning(&self, run_id: &str) -> bool {
        self.clone.as_ref().is_some_and(|clone| clone.id == run_id && clone.ended.is_none())
    }

    /// Returns whether this run is known to clone no longer.
    pub(super) fn has_cloned(&self, run_id: &str) -> bool {
        self.clone.as_ref().is_some_and(|clone| clone.id == run_id && clone.ended.is_some())
    }

    fn unresponsive(&self, run_id: &str) -> Option<&Unresponsive> {
        self.unresponsive.as_ref().filter(|result| result.run_id == run_id)
    }
}

/// The meaning of a session's objects.
pub(super) struct Derived {
    pub(super) status: SessionStatus,
    pub(super) desired: Desired,
    pub(super) pod_state: PodState,
}

/// Derives the status of a session at the time `now`.
pub(super) fn derive(
    session: &Arc<Session>,
    (pvc, pod, events): (&PersistentVolumeClaim, Option<&Pod>, &[Event]),
    probes: &ProbeResults,
    now: SystemTime,
) -> Derived {
    let desired = Desired::of(pvc, pod);
    let created = pod.and_then(created_at);
    let since = desired.since.or(created).unwrap_or(session.created_at);
    // The Pod of another run says nothing about the desired one.
    let is_desired = |pod: &&Pod| match &desired.state {
        DesiredState::Running(run) => run_of(pod) == Some(run),
        DesiredState::Unmanaged => true,
        DesiredState::Stopped(_) | DesiredState::Failed(_) => false,
    };
    let desired_pod = pod.filter(is_desired);
    let pod_status = pod::derive(pvc, pod, events, since, now);
    let (mut pod_state, mut stages) = (pod_status.state, pod_status.stages);
    let unresponsive = match &pod_state {
        PodState::Running(container) => probes.unresponsive(&container.run_id),
        _ => None,
    };
    if let Some(failed) = unresponsive.filter(|result| result.has_failed) {
        pod_state = PodState::Failed(failed.failure.clone());
    }
    let ready = match &pod_state {
        PodState::Running(RunningContainer { run_id, started_at, .. }) => {
            probes.ready.as_ref().filter(|ready| ready.run_id == *run_id).zip(Some(*started_at))
        }
        _ => None,
    };
    let results = (ready.map(|(ready, _)| ready), unresponsive);
    let phase = phase(&desired.state, &pod_state, pod.is_some(), desired_pod.is_some(), results);
    match (&phase, desired_pod) {
        (Phase::Stopped(_) | Phase::Stopping, _) | (Phase::Failed(_), None) => stages.clear(),
        (_, None) => stages = pod::derive(pvc, None, &[], since, now).stages,
        (_, Some(_)) => {}
    }
    if let PodState::Running(RunningContainer { run_id, started_at, .. }) = &pod_state {
        let seen = probes.clone.as_ref().filter(|clone| clone.id == *run_id).and_then(|clone| clone.ended);
        // A healthy opencode was started after it.
        if let Some(at) = seen.or(ready.map(|_| *started_at)) {
            end_clone(&mut stages, at);
        }
    }
    if let (Phase::Running(_), Some((ready, _)), Some(last)) = (&phase, ready, stages.last_mut()) {
        last.ended = Some(last.started.map_or(ready.at, |started| started.max(ready.at)));
    }
    let is_of_pod = |id: &String| {
        pod.and_then(|pod| pod.metadata.uid.as_ref()) == Some(id)
            || matches!(&pod_state, PodState::Running(container) if container.run_id == *id)
    };
    if let Some(Clone { id, progress: Some(progress), .. }) = &probes.clone
        && is_of_pod(id)
        && let Some(clone) = stages.iter_mut().find(|stage| stage.stage == Stage::Cloning)
        && clone.started.is_some()
        && clone.ended.is_none()
    {
        clone.message = Some(progress.message.to_string());
        (clone.percent, clone.bytes) = (progress.percent, progress.bytes);
    }
    let status = SessionStatus {
        session: session.clone(),
        since: match (&phase, ready) {
            (Phase::Running(_), Some((_, started_at))) => started_at.max(since),
            _ => since,
        },
        phase,
        stages,
        last_activity: last_activity(pvc, pod, session),
        first_prompt_sent: first_prompt_sent(pvc),
        attach_tokens: attach_tokens(pvc),
    };
    Derived { status, desired, pod_state }
}

fn phase(
    desired: &DesiredState,
    pod_state: &PodState,
    has_pod: bool,
    has_desired_pod: bool,
    (ready, unresponsive): (Option<&Ready>, Option<&Unresponsive>),
) -> Phase {
    let is_lost = |failure: &Failure| matches!(failure.code, FailureCode::VolumeLost | FailureCode::NodeLost);
    match (desired, pod_state) {
        (DesiredState::Failed(failure), _) => Phase::Failed(failure.clone()),
        // A lost volume or node needs somebody's help, whatever state is desired.
        (_, PodState::Blocked(failure)) if is_lost(failure) => Phase::Failed(failure.clone()),
        (DesiredState::Stopped(reason), _) if !has_pod => Phase::Stopped(*reason),
        (DesiredState::Unmanaged, PodState::Stopped) => Phase::Stopped(StopReason::Idle),
        (_, PodState::Stopping) | (DesiredState::Stopped(_), _) => Phase::Stopping,
        (DesiredState::Running(_), _) if !has_pod => Phase::Starting,
        (DesiredState::Running(_), _) if !has_desired_pod => Phase::Stopping,
        (_, PodState::Blocked(failure)) => Phase::Failed(failure.clone()),
        // The failure is published once it is stored on the claim, with the end of the log: then every router
        // reports the same.
        (_, PodState::Failed(_)) => Phase::Starting,
        (_, PodState::Running(_)) => match (ready, unresponsive) {
            (Some(ready), _) => Phase::Running(ready.endpoint.clone()),
            (None, Some(unresponsive)) => Phase::Failed(unresponsive.failure.clone()),
            (None, None) => Phase::Starting,
        },
        (_, PodState::Stopped | PodState::Starting) => Phase::Starting,
    }
}

//! What a session's objects mean: a pure function of the desired state, the objects, and what this router has probed.

pub(super) mod fields;
pub mod pod;
mod stages;

use std::{sync::Arc, time::SystemTime};

use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};

use self::{fields::wall, pod::PodState};
use super::{
    desired::{Desired, DesiredState, run_of},
    session::{greeted, last_activity},
};
use crate::{
    git_output::Progress,
    model::{Endpoint, Failure, FailureCode, Phase, Session, SessionStatus, Stage, StopReason},
};

/// What the objects do not tell: this router asked for it.
#[derive(Debug, Clone, Default)]
pub(super) struct ProbeResults {
    /// opencode of this run answers.
    pub(super) ready: Option<Ready>,
    /// opencode of this run did not answer in time.
    pub(super) unresponsive: Option<Unresponsive>,
    /// How far the clone in the Pod of this UID is.
    pub(super) clone: Option<(String, Progress)>,
}

/// An opencode that answers.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub(super) run_id: String,
    pub(super) endpoint: Endpoint,
    pub(super) at: SystemTime,
}

/// An opencode that does not answer.
#[derive(Debug, Clone)]
pub(super) struct Unresponsive {
    pub(super) run_id: String,
    pub(super) failure: Failure,
    /// It began lately and never answered: the run is over. Else it ran before this router came, and may be at work
    /// where this router can't reach it: it is left alone, and asked on.
    pub(super) is_over: bool,
}

/// What [`derive`] makes of a session.
pub(super) struct Derived {
    pub(super) status: SessionStatus,
    pub(super) desired: Desired,
    pub(super) pod_state: PodState,
}

/// Looks at a session's objects.
pub(super) fn derive(
    session: &Arc<Session>,
    (pvc, pod, events): (&PersistentVolumeClaim, Option<&Pod>, &[Event]),
    probes: &ProbeResults,
    now: SystemTime,
) -> Derived {
    let desired = Desired::of(pvc, pod);
    let made = pod.and_then(|pod| pod.metadata.creation_timestamp.as_ref()).map(wall);
    let since = desired.since.or(made).unwrap_or(session.created_at);
    // A Pod of another run tells nothing of the start that is desired.
    let is_it = |pod: &&Pod| match &desired.state {
        DesiredState::Running(run) => run_of(pod) == Some(run),
        DesiredState::Unmanaged => true,
        DesiredState::Stopped(_) | DesiredState::Failed(_) => false,
    };
    let of_run = pod.filter(is_it);
    let mut pod_status = pod::derive(pvc, pod, events, since, now);
    let unresponsive = match &pod_status.state {
        PodState::Running(running) => {
            probes.unresponsive.as_ref().filter(|unresponsive| unresponsive.run_id == running.run_id)
        }
        _ => None,
    };
    if let Some(unresponsive) = unresponsive.filter(|unresponsive| unresponsive.is_over) {
        pod_status.state = PodState::Failed(unresponsive.failure.clone());
    }
    let ready = match &pod_status.state {
        PodState::Running(running) => {
            probes.ready.as_ref().filter(|ready| ready.run_id == running.run_id).zip(Some(running))
        }
        _ => None,
    };
    let found = (ready.map(|(ready, _)| ready), unresponsive);
    let phase = phase(&desired.state, &pod_status.state, pod.is_some(), of_run.is_some(), found);
    let mut stages = match (&phase, of_run) {
        (Phase::Stopped(_) | Phase::Stopping, _) => Vec::new(),
        (Phase::Failed(_), None) => Vec::new(),
        (_, None) => pod::derive(pvc, None, &[], since, now).stages,
        (_, Some(_)) => pod_status.stages,
    };
    if let (Phase::Running(_), Some((ready, _)), Some(last)) = (&phase, ready, stages.last_mut()) {
        last.ended = Some(last.started.map_or(ready.at, |started| started.max(ready.at)));
    }
    if let Some((uid, step)) = &probes.clone
        && pod.and_then(|pod| pod.metadata.uid.as_ref()) == Some(uid)
        && let Some(clone) = stages.iter_mut().find(|stage| stage.stage == Stage::Cloning)
        && clone.started.is_some()
        && clone.ended.is_none()
    {
        clone.message = Some(step.message.to_string());
        (clone.percent, clone.bytes) = (step.percent, step.bytes);
    }
    let status = SessionStatus {
        session: session.clone(),
        since: match (&phase, ready) {
            (Phase::Running(_), Some((_, running))) => running.started_at.max(since),
            _ => since,
        },
        phase,
        stages,
        last_activity: last_activity(pvc, pod, session),
        first_prompt_sent: greeted(pvc),
    };
    Derived { status, desired, pod_state: pod_status.state }
}

fn phase(
    desired: &DesiredState,
    state: &PodState,
    has_pod: bool,
    has_its_pod: bool,
    (ready, unresponsive): (Option<&Ready>, Option<&Unresponsive>),
) -> Phase {
    let lost = |failure: &Failure| matches!(failure.code, FailureCode::VolumeLost | FailureCode::NodeLost);
    match (desired, state) {
        (DesiredState::Failed(failure), _) => Phase::Failed(failure.clone()),
        // Neither ends by itself, and whatever is wanted waits for it.
        (_, PodState::Blocked(failure)) if lost(failure) => Phase::Failed(failure.clone()),
        (DesiredState::Stopped(why), _) if !has_pod => Phase::Stopped(*why),
        (DesiredState::Unmanaged, PodState::Stopped) => Phase::Stopped(StopReason::Idle),
        (_, PodState::Stopping) => Phase::Stopping,
        (DesiredState::Stopped(_), _) => Phase::Stopping,
        (DesiredState::Running(_), _) if !has_pod => Phase::Starting,
        (DesiredState::Running(_), _) if !has_its_pod => Phase::Stopping,
        (_, PodState::Blocked(failure)) => Phase::Failed(failure.clone()),
        // It is about to be given up, and is told as failed once that is written down: with what its log says, the same by every
        // router.
        (_, PodState::Failed(_)) => Phase::Starting,
        (_, PodState::Running(_)) => match (ready, unresponsive) {
            (Some(ready), _) => Phase::Running(ready.endpoint.clone()),
            (None, Some(unresponsive)) => Phase::Failed(unresponsive.failure.clone()),
            (None, None) => Phase::Starting,
        },
        (_, PodState::Stopped | PodState::Starting) => Phase::Starting,
    }
}

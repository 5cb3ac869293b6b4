//! The life of a session on one page: from the desired state and the current objects to the next action.
//!
//! Every router runs it after every change that it sees. Whichever comes first acts, and the API server
//! refuses the others: the session's name is the Pod's, and what is deleted is identified by its UID. So a
//! router may be killed between any two calls.

use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{
    desired::{Desired, DesiredState, run_of},
    status::pod::PodState,
};
use crate::model::Failure;

/// The next action.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Does nothing: the session is in the desired state, or on its way there.
    Nothing,
    /// Creates the Pod of this run.
    CreatePod(String),
    /// Deletes the Pod with this UID, if that is still the next action by the current claim. Watches
    /// deliver Pod and claim in any order, so the Pod may belong to a start that was not seen yet. (Once the
    /// Pod of a run that is not desired exists, that run is never desired again.)
    DeletePod(String),
    /// Stores that the run failed; its Pod is deleted after that.
    GiveUp(Failure),
}

/// Whether an object exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It does not exist.
    Absent,
    /// It exists.
    Present,
    /// It is being deleted.
    Terminating,
}

/// The current state, as far as [`reconcile`] needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Current {
    /// The claim.
    pub pvc: Presence,
    /// The Pod.
    pub pod: Presence,
    /// The Pod's UID.
    pub uid: String,
    /// The run that the Pod was created for; `None` for a Pod of the TypeScript router.
    pub run: Option<String>,
    /// Why the Pod has failed for good.
    pub failure: Option<Failure>,
}

impl Current {
    /// Reads the objects.
    #[must_use]
    pub fn of(pvc: Option<&PersistentVolumeClaim>, pod: Option<&Pod>, state: Option<&PodState>) -> Self {
        Self {
            pvc: Presence::of(pvc.map(|pvc| &pvc.metadata)),
            pod: Presence::of(pod.map(|pod| &pod.metadata)),
            uid: pod.and_then(|pod| pod.metadata.uid.clone()).unwrap_or_default(),
            run: pod.and_then(run_of).map(str::to_owned),
            failure: match state {
                Some(PodState::Failed(failure)) => Some(failure.clone()),
                _ => None,
            },
        }
    }
}

impl Presence {
    fn of(meta: Option<&ObjectMeta>) -> Self {
        match meta {
            None => Self::Absent,
            Some(meta) if meta.deletion_timestamp.is_none() => Self::Present,
            Some(_) => Self::Terminating,
        }
    }
}

/// Returns the next action.
#[must_use]
pub fn reconcile(desired: &Desired, current: &Current) -> Action {
    use Presence::{Absent, Present, Terminating};
    let delete = || Action::DeletePod(current.uid.clone());
    match (current.pvc, current.pod, &desired.state) {
        // The end of a terminating Pod is an event, which leads here again.
        (_, Terminating, _) => Action::Nothing,
        // Without a claim there is no session.
        (Absent, Absent, _) => Action::Nothing,
        (Absent, Present, _) => delete(),
        // The session is being deleted: the claim waits for its Pod.
        (Terminating, Absent, _) => Action::Nothing,
        (Terminating, Present, _) => delete(),
        // No Pod is desired.
        (Present, Absent, DesiredState::Stopped(_) | DesiredState::Failed(_) | DesiredState::Unmanaged) => {
            Action::Nothing
        }
        (Present, Present, DesiredState::Stopped(_) | DesiredState::Failed(_)) => delete(),
        // A Pod of this run is desired, and never beside another one.
        (Present, Absent, DesiredState::Running(run)) => Action::CreatePod(run.clone()),
        (Present, Present, DesiredState::Running(run)) if current.run.as_ref() != Some(run) => delete(),
        (Present, Present, DesiredState::Running(_) | DesiredState::Unmanaged) => match &current.failure {
            Some(failure) => Action::GiveUp(failure.clone()),
            None => Action::Nothing,
        },
    }
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;

//! The way of a session, on one page: what is wanted of it, what is there, and so what is to be done next.
//!
//! It is asked again after every change that is seen, by every router; whichever comes first does it, and the API server
//! refuses the others: a Pod's name is the session's, and what is deleted is named by its UID. So it does not matter which
//! router was killed between which two calls.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use super::{
    desired::{Desired, DesiredState, run_of},
    status::pod::PodState,
};
use crate::model::Failure;

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// It is as it is to be, or on its way there.
    Nothing,
    /// Makes the Pod of this run.
    CreatePod(String),
    /// Deletes this Pod, by its UID; only after the claim was read anew and this is still so. Watches tell of Pod and claim
    /// in any order: it may be the Pod of a start that was not seen yet. (A run that is not wanted once its Pod is there
    /// is never wanted again.)
    DeletePod(String),
    /// Writes down that the run failed; the Pod goes after that.
    GiveUp(Failure),
}

/// What is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is not there.
    Absent,
    /// It is there.
    Present,
    /// It is being deleted.
    Terminating,
}

/// What [`reconcile`] looks at.
#[derive(Debug, Clone, PartialEq)]
pub struct Current {
    /// The claim.
    pub pvc: Presence,
    /// The Pod.
    pub pod: Presence,
    /// The Pod's UID.
    pub uid: String,
    /// The run that the Pod was made for; `None`: the TypeScript router's.
    pub run: Option<String>,
    /// What the Pod failed of, for good.
    pub failure: Option<Failure>,
}

impl Current {
    /// Reads the objects.
    #[must_use]
    pub fn of(pvc: Option<&PersistentVolumeClaim>, pod: Option<&Pod>, state: Option<&PodState>) -> Self {
        let there = |deleted: Option<bool>| match deleted {
            None => Presence::Absent,
            Some(false) => Presence::Present,
            Some(true) => Presence::Terminating,
        };
        Self {
            pvc: there(pvc.map(|pvc| pvc.metadata.deletion_timestamp.is_some())),
            pod: there(pod.map(|pod| pod.metadata.deletion_timestamp.is_some())),
            uid: pod.and_then(|pod| pod.metadata.uid.clone()).unwrap_or_default(),
            run: pod.and_then(run_of).map(str::to_owned),
            failure: match state {
                Some(PodState::Failed(failure)) => Some(failure.clone()),
                _ => None,
            },
        }
    }
}

/// What is to be done next.
#[must_use]
pub fn reconcile(desired: &Desired, current: &Current) -> Action {
    let delete = || Action::DeletePod(current.uid.clone());
    match (current.pvc, current.pod, &desired.state) {
        // What is going is waited for: its end is seen, and brings us here again.
        (_, Presence::Terminating, _) => Action::Nothing,
        // Without a claim there is no session.
        (Presence::Absent, Presence::Absent, _) => Action::Nothing,
        (Presence::Absent, Presence::Present, _) => delete(),
        // It is being deleted: the claim waits for its Pod.
        (Presence::Terminating, Presence::Absent, _) => Action::Nothing,
        (Presence::Terminating, Presence::Present, _) => delete(),
        // It is kept, and no Pod is wanted.
        (
            Presence::Present,
            Presence::Absent,
            DesiredState::Stopped(_) | DesiredState::Failed(_) | DesiredState::Unmanaged,
        ) => Action::Nothing,
        (Presence::Present, Presence::Present, DesiredState::Stopped(_) | DesiredState::Failed(_)) => {
            delete()
        }
        // A Pod is wanted: of this run, and never beside another one.
        (Presence::Present, Presence::Absent, DesiredState::Running(run)) => Action::CreatePod(run.clone()),
        (Presence::Present, Presence::Present, DesiredState::Running(run))
            if current.run.as_ref() != Some(run) =>
        {
            delete()
        }
        (Presence::Present, Presence::Present, DesiredState::Running(_) | DesiredState::Unmanaged) => {
            match &current.failure {
                Some(failure) => Action::GiveUp(failure.clone()),
                None => Action::Nothing,
            }
        }
    }
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;

//! One session in the store: its newest objects, and what they mean.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use tokio::time::Instant;

use super::{
    cache::{Packed, Versioned, clones_in_opencode, has_password, is_cloning},
    desired::{Desired, DesiredState},
    reconcile::{Action, Current, reconcile},
    session::{self, ClaimError},
    status::{
        self, Derived, ProbeResults,
        pod::{PodState, RunningContainer},
    },
};
use crate::model::{Password, Session};

/// The newest objects of one session, and what they mean.
#[derive(Default)]
pub(super) struct CachedSession {
    pub(super) pvc: Versioned<PersistentVolumeClaim>,
    pub(super) pod: Versioned<Pod>,
    /// By UID, with their times.
    pub(super) events: BTreeMap<String, (Option<Timestamp>, Packed<Event>)>,
    /// The Pod's node.
    pub(super) node: Option<Arc<str>>,
    /// Whether the claim has ports that a session has reported.
    pub(super) has_reported_ports: bool,
    /// The session, and the UID of the claim that it was read from.
    pub(super) session: Option<(String, Arc<Session>)>,
    /// The claim contradicts its hash or its earlier owner.
    pub(super) has_conflict: bool,
    pub(super) probes: ProbeResults,
    pub(super) pod_state: Option<PodState>,
    pub(super) desired: Option<Desired>,
    pub(super) local: LocalState,
    /// Since when the session has neither claim nor Pod.
    pub(super) empty_since: Option<Instant>,
}

/// What a router knows of a session because of what it did itself. Another router asks for it, or waits.
#[derive(Debug, Clone, Default)]
pub(super) struct LocalState {
    /// A command for the session was given here: this router acts first.
    pub(super) is_commander: bool,
    /// This router has created the claim, and no Pod yet.
    pub(super) has_created: bool,
    /// The run whose GitHub token this router has written.
    pub(super) token_of: Option<String>,
    /// The run whose Pod this router has created, and its password.
    pub(super) password: Option<(String, Password)>,
}

/// What the controller reads of a session.
pub(super) struct WorkItem {
    pub(super) action: Action,
    pub(super) session: Option<Arc<Session>>,
    pub(super) pvc: Option<PersistentVolumeClaim>,
    pub(super) pod: Option<Pod>,
    pub(super) local: LocalState,
}

/// What the prober reads of a session.
#[derive(Default)]
pub(super) struct ProbeTarget {
    /// The container to probe: it runs, and has no final result yet.
    pub(super) container: Option<RunningContainer>,
    pub(super) has_password: bool,
    /// The clone that runs, as far as is known.
    pub(super) cloning: Option<CloneTarget>,
}

/// A clone whose log says how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CloneTarget {
    /// See [`Clone::id`](super::status::Clone::id).
    pub(super) id: String,
    /// The container that clones.
    pub(super) container: &'static str,
}

impl CachedSession {
    pub(super) fn work_item(&self) -> WorkItem {
        let (pvc, pod) = (self.pvc.object(), self.pod.object());
        let current = Current::of(pvc.as_ref(), pod.as_ref(), self.pod_state.as_ref());
        let unmanaged = Desired { state: DesiredState::Unmanaged, since: None };
        let action = reconcile(self.desired.as_ref().unwrap_or(&unmanaged), &current);
        let session = self.session.as_ref().map(|(_, session)| session.clone());
        WorkItem { action, session, pvc, pod, local: self.local.clone() }
    }

    pub(super) fn probe_target(&self) -> ProbeTarget {
        let container = self.running().filter(|container| !self.probes.is_final(&container.run_id));
        let is_settled = container.is_none() && self.is_settled();
        // Most changes are of sessions that need no probe.
        let Some(pod) = self.pod.object().filter(|_| !is_settled) else { return ProbeTarget::default() };
        ProbeTarget {
            has_password: has_password(&pod),
            cloning: self.clone_target(&pod, container),
            container: container.cloned(),
        }
    }

    /// Returns the clone that runs, or may run.
    fn clone_target(&self, pod: &Pod, unprobed: Option<&RunningContainer>) -> Option<CloneTarget> {
        if is_cloning(pod) {
            return Some(CloneTarget { id: pod.metadata.uid.clone()?, container: "git-init" });
        }
        let container = unprobed.filter(|container| !self.probes.has_cloned(&container.run_id))?;
        clones_in_opencode(pod).then(|| CloneTarget { id: container.run_id.clone(), container: "opencode" })
    }

    /// Returns whether the status stays as it is until an object changes.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.pod_state, Some(PodState::Stopped)) || self.probes.ready.is_some()
    }

    /// Returns the container that runs, if one does.
    pub(super) fn running(&self) -> Option<&RunningContainer> {
        match &self.pod_state {
            Some(PodState::Running(container)) => Some(container),
            _ => None,
        }
    }

    /// Derives the session's status from its objects; `None` without a claim that can be trusted.
    pub(super) fn derive(&mut self, now: SystemTime, unreadable: &mut BTreeSet<String>) -> Option<Derived> {
        let pvc = self.pvc.object()?;
        if !self.read_session(&pvc, unreadable) {
            return None;
        }
        let (_, session) = self.session.as_ref()?;
        let events: Vec<_> = self.events.values().filter_map(|(_, event)| event.unpack()).collect();
        Some(status::derive(session, (&pvc, self.pod.object().as_ref(), &events), &self.probes, now))
    }

    /// Reads the session from the claim, which has to keep its owner, repository and branch. Returns whether
    /// the claim can be trusted.
    fn read_session(&mut self, pvc: &PersistentVolumeClaim, unreadable: &mut BTreeSet<String>) -> bool {
        let uid = pvc.metadata.uid.clone().unwrap_or_default();
        let known = self.session.take().filter(|(of, _)| *of == uid);
        match session::session(pvc) {
            Ok(session) => {
                self.has_conflict =
                    known.as_ref().is_some_and(|(_, known)| !session::is_same(known, &session));
                self.session = known.or_else(|| Some((uid, Arc::new(session))));
                !self.has_conflict
            }
            Err(ClaimError::HashMismatch) => {
                (self.has_conflict, self.session) = (true, known);
                false
            }
            Err(ClaimError::Unreadable(reason)) => {
                (self.has_conflict, self.session) = (false, known);
                if unreadable.insert(uid) {
                    tracing::warn!(
                        claim = pvc.metadata.name,
                        reason,
                        "claim unreadable; ignoring the session"
                    );
                }
                false
            }
        }
    }
}

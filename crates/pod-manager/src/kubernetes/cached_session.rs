//! One session in the store: its newest objects, and what they mean.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use tokio::time::Instant;

use super::{
    cache::Versioned,
    desired::Desired,
    session::{self, ClaimError},
    status::{
        self, Derived, ProbeResults,
        pod::{PodState, RunningContainer},
    },
};
use crate::model::Session;

/// The newest objects of one session, and what they mean.
#[derive(Default)]
pub(super) struct CachedSession {
    pub(super) pvc: Versioned<PersistentVolumeClaim>,
    pub(super) pod: Versioned<Pod>,
    /// By UID.
    pub(super) events: BTreeMap<String, Event>,
    /// The session, and the UID of the claim that it was read from.
    pub(super) session: Option<(String, Arc<Session>)>,
    /// The claim contradicts its hash or its earlier owner.
    pub(super) has_conflict: bool,
    pub(super) probes: ProbeResults,
    pub(super) pod_state: Option<PodState>,
    pub(super) desired: Option<Desired>,
    /// A command for the session was given here: this router acts first.
    pub(super) is_local: bool,
    /// Since when the session has neither claim nor Pod.
    pub(super) empty_since: Option<Instant>,
}

impl CachedSession {
    /// Returns the container that runs, if one does.
    pub(super) fn running(&self) -> Option<&RunningContainer> {
        match &self.pod_state {
            Some(PodState::Running(container)) => Some(container),
            _ => None,
        }
    }

    /// Derives the session's status from its objects; `None` without a claim that can be trusted.
    pub(super) fn derive(&mut self, now: SystemTime, unreadable: &mut BTreeSet<String>) -> Option<Derived> {
        let pvc = self.pvc.object.clone()?;
        if !self.read_session(&pvc, unreadable) {
            return None;
        }
        let (_, session) = self.session.as_ref()?;
        let events: Vec<_> = self.events.values().cloned().collect();
        Some(status::derive(session, (&pvc, self.pod.object.as_deref(), &events), &self.probes, now))
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

//! What the watches and the answers to our own writes deliver.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use session_key::SessionHash;

use super::{Store, WatchSource};
use crate::kubernetes::{
    cache::{Packed, trim, trim_event, trim_pvc, version},
    objects::names::annotation,
    session::{self, PORTS_KEY},
};

/// How many Events are kept of one session.
const MAX_EVENTS: usize = 40;

impl Store {
    pub(in crate::kubernetes) fn apply_pvc(&self, mut pvc: PersistentVolumeClaim) {
        trim_pvc(&mut pvc);
        let Some(hash) = session::hash_of(&pvc.metadata) else { return };
        let version = version(&pvc.metadata);
        let has_ports = pvc.metadata.annotations.iter().any(|all| all.contains_key(&annotation(PORTS_KEY)));
        self.update(hash, |entry, observed| {
            let is_new = entry.pvc.apply(&pvc, version, observed[WatchSource::Pvcs as usize]);
            entry.has_reported_ports = if is_new { has_ports } else { entry.has_reported_ports };
            is_new
        });
    }

    pub(in crate::kubernetes) fn apply_pod(&self, mut pod: Pod) {
        trim(&mut pod);
        let Some(hash) = session::hash_of(&pod.metadata) else { return };
        let version = version(&pod.metadata);
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).map(|name| self.node(name));
        self.update(hash, |entry, observed| {
            let is_new = entry.pod.apply(&pod, version, observed[WatchSource::Pods as usize]);
            if is_new {
                entry.node = node;
            }
            is_new
        });
    }

    pub(in crate::kubernetes) fn delete_pvc(&self, pvc: &PersistentVolumeClaim) {
        let Some(hash) = session::hash_of(&pvc.metadata) else { return };
        self.update(hash, |entry, _| entry.pvc.delete(version(&pvc.metadata)));
    }

    pub(in crate::kubernetes) fn delete_pod(&self, pod: &Pod) {
        let Some(hash) = session::hash_of(&pod.metadata) else { return };
        self.update(hash, |entry, _| {
            let is_new = entry.pod.delete(version(&pod.metadata));
            if is_new {
                entry.node = None;
            }
            is_new
        });
    }

    /// Applies an Event about a session's Pod or claim.
    pub(in crate::kubernetes) fn apply_event(&self, mut event: Event) {
        let name = event.involved_object.name.clone().unwrap_or_default();
        let hash = name.strip_prefix("opencode-session-").or_else(|| name.strip_prefix("opencode-pvc-"));
        let Some(hash) = hash.and_then(|hash| SessionHash::parse(hash).ok()) else { return };
        let Some(uid) = event.metadata.uid.clone() else { return };
        if !trim_event(&mut event) {
            return;
        }
        let at = event.last_timestamp.as_ref().map(|at| at.0);
        self.update(hash, |entry, _| {
            entry.events.insert(uid, (at, Packed::new(&event)));
            if entry.events.len() > MAX_EVENTS {
                let oldest = entry.events.iter().min_by_key(|(_, (at, _))| at);
                if let Some(oldest) = oldest.map(|(uid, _)| uid.clone()) {
                    entry.events.remove(&oldest);
                }
            }
            true
        });
    }

    /// Returns the one copy of a node's name.
    fn node(&self, name: &str) -> Arc<str> {
        let mut sessions = self.sessions.lock();
        if let Some(name) = sessions.nodes.get(name) {
            return name.clone();
        }
        let name: Arc<str> = name.into();
        sessions.nodes.insert(name.clone());
        name
    }

    /// Records that the watch has delivered everything up to this version.
    pub(in crate::kubernetes) fn observed_version(&self, source: WatchSource, version: u64) {
        let observed = &mut self.sessions.lock().observed_versions[source as usize];
        *observed = version.max(*observed);
    }

    /// Records that a list of this version was delivered as a whole: an object that is not in it was deleted,
    /// unless the object is newer.
    pub(in crate::kubernetes) fn synced(
        &self,
        source: WatchSource,
        listed: &BTreeSet<SessionHash>,
        list_version: u64,
    ) {
        self.observed_version(source, list_version);
        let missing: Vec<_> = {
            let sessions = self.sessions.lock();
            sessions.entries.keys().filter(|hash| !listed.contains(hash)).copied().collect()
        };
        for hash in missing {
            self.update(hash, |entry, _| match source {
                WatchSource::Pvcs if entry.pvc.exists() => entry.pvc.delete(list_version),
                WatchSource::Pods if entry.pod.exists() => entry.pod.delete(list_version),
                _ => false,
            });
        }
        let mut synced = *self.synced.borrow();
        synced[source as usize] = true;
        if synced.iter().all(|one| *one) {
            self.publish_all();
        }
        self.synced.send_modify(|synced| synced[source as usize] = true);
    }
}

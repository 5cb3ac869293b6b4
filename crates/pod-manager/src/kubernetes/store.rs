//! All sessions' objects in memory: fed by the watches and by the answers to our own writes, read by
//! everybody.
//!
//! Every update derives the session's status, publishes it, and queues the session for the controller.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use parking_lot::Mutex;
use session_key::SessionHash;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{
    cache::{has_password, is_cloning, trim, trim_pvc, version},
    cached_session::CachedSession,
    desired::{Desired, DesiredState},
    reconcile::{Action, Current, reconcile},
    session,
    status::{
        Derived, ProbeResults,
        fields::event_time,
        pod::{PodState, RunningContainer},
    },
};
use crate::{
    clock::Clock,
    model::{Phase, Session, SessionStatus},
    publisher::Publisher,
};

/// How many Events are kept of one session.
const MAX_EVENTS: usize = 40;
/// How long a deleted session is remembered, so that a late event does not bring it back.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// The watches that feed the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WatchSource {
    Pvcs,
    Pods,
    PodEvents,
    PvcEvents,
}

/// The objects of all sessions, and what they mean.
pub(super) struct Store {
    sessions: Mutex<Sessions>,
    publisher: Arc<Publisher>,
    clock: Arc<dyn Clock>,
    /// The sessions that the controller is to look at.
    queue: mpsc::UnboundedSender<SessionHash>,
    /// Which of the watches have listed all objects.
    synced: watch::Sender<[bool; 4]>,
    /// Counts the updates, for those who wait for one.
    updates: watch::Sender<u64>,
}

#[derive(Default)]
struct Sessions {
    entries: BTreeMap<SessionHash, CachedSession>,
    /// How far each watch has come: an unknown object that is older than that was deleted.
    observed_versions: [u64; 4],
    /// All watches are synced. Nothing is published before.
    is_synced: bool,
    /// The UIDs of claims that can't be read, each reported once.
    unreadable: BTreeSet<String>,
    /// How often a claim was found that contradicts its hash, or its earlier owner.
    conflicts: u64,
}

/// What the controller reads of a session.
pub(super) struct WorkItem {
    pub(super) action: Action,
    pub(super) session: Option<Arc<Session>>,
    pub(super) pvc: Option<Arc<PersistentVolumeClaim>>,
    pub(super) pod: Option<Arc<Pod>>,
    pub(super) is_local: bool,
}

/// What the prober reads of a session.
#[derive(Default)]
pub(super) struct ProbeTarget {
    /// The container to probe: it runs, and has no final result yet.
    pub(super) container: Option<RunningContainer>,
    pub(super) has_password: bool,
    /// The UID of the Pod whose clone runs.
    pub(super) cloning: Option<String>,
}

impl Store {
    /// Creates a store, and the queue of the sessions that it updates.
    pub(super) fn new(
        publisher: Arc<Publisher>,
        clock: Arc<dyn Clock>,
    ) -> (Self, mpsc::UnboundedReceiver<SessionHash>) {
        let (queue, receiver) = mpsc::unbounded_channel();
        let store = Self {
            sessions: Mutex::default(),
            publisher,
            clock,
            queue,
            synced: watch::Sender::new([false; 4]),
            updates: watch::Sender::new(0),
        };
        (store, receiver)
    }

    /// Returns how often a claim was found that contradicts its hash, or its earlier owner.
    pub(super) fn conflicts(&self) -> u64 {
        self.sessions.lock().conflicts
    }

    /// Returns the node of every Pod that has one.
    pub(super) fn nodes(&self) -> Vec<(SessionHash, Arc<str>)> {
        let sessions = self.sessions.lock();
        let node = |entry: &CachedSession| {
            let pod = entry.pod.object.as_ref()?;
            Some(Arc::from(pod.spec.as_ref()?.node_name.as_deref()?))
        };
        sessions.entries.iter().filter_map(|(hash, entry)| Some((*hash, node(entry)?))).collect()
    }

    /// Waits until every watch has listed all objects.
    pub(super) async fn wait_synced(&self) {
        // It fails only once the sender is dropped, which is in `self`.
        let _ = self.synced.subscribe().wait_for(|synced| synced.iter().all(|one| *one)).await;
    }

    pub(super) fn apply_pvc(&self, mut pvc: PersistentVolumeClaim) {
        trim_pvc(&mut pvc);
        let Some(hash) = session::hash_of(&pvc.metadata) else { return };
        let version = version(&pvc.metadata);
        self.update(hash, |entry, observed| {
            entry.pvc.apply(pvc, version, observed[WatchSource::Pvcs as usize])
        });
    }

    pub(super) fn apply_pod(&self, mut pod: Pod) {
        trim(&mut pod);
        let Some(hash) = session::hash_of(&pod.metadata) else { return };
        let version = version(&pod.metadata);
        self.update(hash, |entry, observed| {
            entry.pod.apply(pod, version, observed[WatchSource::Pods as usize])
        });
    }

    pub(super) fn delete_pvc(&self, pvc: &PersistentVolumeClaim) {
        let Some(hash) = session::hash_of(&pvc.metadata) else { return };
        self.update(hash, |entry, _| entry.pvc.delete(version(&pvc.metadata)));
    }

    pub(super) fn delete_pod(&self, pod: &Pod) {
        let Some(hash) = session::hash_of(&pod.metadata) else { return };
        self.update(hash, |entry, _| entry.pod.delete(version(&pod.metadata)));
    }

    /// Applies an Event about a session's Pod or claim.
    pub(super) fn apply_event(&self, mut event: Event) {
        event.metadata.managed_fields = None;
        let name = event.involved_object.name.as_deref().unwrap_or_default();
        let hash = name.strip_prefix("opencode-session-").or_else(|| name.strip_prefix("opencode-pvc-"));
        let Some(hash) = hash.and_then(|hash| SessionHash::parse(hash).ok()) else { return };
        let Some(uid) = event.metadata.uid.clone() else { return };
        self.update(hash, |entry, _| {
            entry.events.insert(uid, event);
            if entry.events.len() > MAX_EVENTS {
                let oldest = entry.events.iter().min_by_key(|(_, event)| event_time(event));
                if let Some(oldest) = oldest.map(|(uid, _)| uid.clone()) {
                    entry.events.remove(&oldest);
                }
            }
            true
        });
    }

    /// Records that the watch has delivered everything up to this version.
    pub(super) fn observed_version(&self, source: WatchSource, version: u64) {
        let observed = &mut self.sessions.lock().observed_versions[source as usize];
        *observed = version.max(*observed);
    }

    /// Records that a list of this version was delivered as a whole: an object that is not in it was deleted,
    /// unless the object is newer.
    pub(super) fn synced(&self, source: WatchSource, listed: &BTreeSet<SessionHash>, list_version: u64) {
        self.observed_version(source, list_version);
        let missing: Vec<_> = {
            let sessions = self.sessions.lock();
            sessions.entries.keys().filter(|hash| !listed.contains(hash)).copied().collect()
        };
        for hash in missing {
            self.update(hash, |entry, _| match source {
                WatchSource::Pvcs if entry.pvc.object.is_some() => entry.pvc.delete(list_version),
                WatchSource::Pods if entry.pod.object.is_some() => entry.pod.delete(list_version),
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

    /// Updates a session's entry, and publishes the session if that changed something.
    fn update(&self, hash: SessionHash, change: impl FnOnce(&mut CachedSession, &[u64; 4]) -> bool) {
        let mut sessions = self.sessions.lock();
        let observed_versions = sessions.observed_versions;
        let entry = sessions.entries.entry(hash).or_default();
        if change(entry, &observed_versions) && sessions.is_synced {
            self.publish(hash, &mut sessions);
        }
    }

    /// Publishes all sessions for the first time.
    fn publish_all(&self) {
        let mut sessions = self.sessions.lock();
        if !std::mem::replace(&mut sessions.is_synced, true) {
            let hashes: Vec<_> = sessions.entries.keys().copied().collect();
            for hash in hashes {
                self.publish(hash, &mut sessions);
            }
        }
    }

    /// Updates what this router has found out about the session's Pod.
    pub(super) fn update_probes(&self, hash: SessionHash, change: impl FnOnce(&mut ProbeResults)) {
        self.update(hash, |entry, _| {
            change(&mut entry.probes);
            true
        });
    }

    /// Derives the session's status and publishes it. The lock is held meanwhile, so statuses are published
    /// in order.
    fn publish(&self, hash: SessionHash, sessions: &mut Sessions) {
        let Some(entry) = sessions.entries.get_mut(&hash) else { return };
        let had_conflict = entry.has_conflict;
        let derived = entry.derive(self.clock.now(), &mut sessions.unreadable);
        if entry.has_conflict && !had_conflict {
            sessions.conflicts += 1;
            tracing::error!(session.hash = %hash, "claim contradicts its owner; serving it to nobody");
        }
        let (has_pvc, has_pod) = (entry.pvc.object.is_some(), entry.pod.object.is_some());
        entry.empty_since =
            if has_pvc || has_pod { None } else { entry.empty_since.or(Some(Instant::now())) };
        if let Some(Derived { status, desired, pod_state }) = derived {
            (entry.desired, entry.pod_state) = (Some(desired), Some(pod_state));
            let published = self.publisher.get(hash);
            // Another owner's claim under the same name is another session.
            if published.as_ref().is_some_and(|old| !session::is_same(&old.session, &status.session)) {
                self.publisher.remove(hash);
            }
            if published.is_none_or(|published| *published != status) {
                self.publisher.publish(&status);
            }
        } else {
            (entry.desired, entry.pod_state) = (None, None);
            match self.publisher.get(hash) {
                // The session is removed once its process has ended.
                Some(published) if !has_pvc && has_pod => {
                    if published.phase != Phase::Stopping {
                        let status = (*published).clone();
                        let stages = Vec::new();
                        self.publisher.publish(&SessionStatus { phase: Phase::Stopping, stages, ..status });
                    }
                }
                _ => self.publisher.remove(hash),
            }
            if !has_pvc && !has_pod {
                (entry.session, entry.is_local, entry.probes) = (None, false, ProbeResults::default());
                entry.has_conflict = false;
            }
        }
        self.updates.send_modify(|count| *count += 1);
        // It fails only once the controller has ended.
        let _ = self.queue.send(hash);
    }

    /// Publishes what depends on the time, and forgets the sessions that were deleted some time ago.
    pub(super) fn tick(&self) {
        let mut sessions = self.sessions.lock();
        sessions.entries.retain(|_, entry| entry.empty_since.is_none_or(|at| at.elapsed() < FORGET_AFTER));
        if !sessions.is_synced {
            return;
        }
        let is_settled = |entry: &CachedSession| {
            matches!(entry.pod_state, Some(PodState::Stopped)) || entry.probes.ready.is_some()
        };
        let unsettled = sessions.entries.iter().filter(|(_, entry)| !is_settled(entry));
        for hash in unsettled.map(|(hash, _)| *hash).collect::<Vec<_>>() {
            self.publish(hash, &mut sessions);
        }
    }

    pub(super) fn pvc(&self, hash: SessionHash) -> Option<Arc<PersistentVolumeClaim>> {
        self.sessions.lock().entries.get(&hash)?.pvc.object.clone()
    }

    pub(super) fn pod(&self, hash: SessionHash) -> Option<Arc<Pod>> {
        self.sessions.lock().entries.get(&hash)?.pod.object.clone()
    }

    /// Returns the id of the run, if the session's opencode has a process.
    pub(super) fn run_id(&self, hash: SessionHash) -> Option<String> {
        let sessions = self.sessions.lock();
        sessions.entries.get(&hash)?.running().map(|container| container.run_id.clone())
    }

    pub(super) fn status(&self, hash: SessionHash) -> Option<Arc<SessionStatus>> {
        self.publisher.get(hash)
    }

    /// Records that a command for the session was given here: this router acts at once, and others wait a
    /// little for it.
    pub(super) fn mark_local(&self, hash: SessionHash) {
        self.sessions.lock().entries.entry(hash).or_default().is_local = true;
    }

    pub(super) fn work_item(&self, hash: SessionHash) -> Option<WorkItem> {
        let sessions = self.sessions.lock();
        let entry = sessions.entries.get(&hash)?;
        let (pvc, pod) = (entry.pvc.object.clone(), entry.pod.object.clone());
        let current = Current::of(pvc.as_deref(), pod.as_deref(), entry.pod_state.as_ref());
        let unmanaged = Desired { state: DesiredState::Unmanaged, since: None };
        let action = reconcile(entry.desired.as_ref().unwrap_or(&unmanaged), &current);
        let session = entry.session.as_ref().map(|(_, session)| session.clone());
        Some(WorkItem { action, session, pvc, pod, is_local: entry.is_local })
    }

    pub(super) fn probe_target(&self, hash: SessionHash) -> ProbeTarget {
        let sessions = self.sessions.lock();
        let Some(entry) = sessions.entries.get(&hash) else { return ProbeTarget::default() };
        let pod = entry.pod.object.as_deref();
        let container = entry.running().filter(|container| !entry.probes.is_final(&container.run_id));
        ProbeTarget {
            container: container.cloned(),
            has_password: pod.is_some_and(has_password),
            cloning: pod.filter(|pod| is_cloning(pod)).and_then(|pod| pod.metadata.uid.clone()),
        }
    }

    /// Waits until every opencode that runs was probed.
    pub(super) async fn wait_probed(&self) {
        let all_probed = || {
            self.sessions.lock().entries.values().all(|entry| {
                let is_probed = |container: &RunningContainer| {
                    entry.probes.is_ready(&container.run_id) || entry.probes.unresponsive.is_some()
                };
                entry.running().is_none_or(is_probed)
            })
        };
        self.wait_for(all_probed).await;
    }

    /// Waits until the condition holds; it is checked after each update.
    pub(super) async fn wait_for(&self, mut condition: impl FnMut() -> bool) {
        let mut updates = self.updates.subscribe();
        loop {
            updates.mark_unchanged();
            if condition() {
                return;
            }
            // It fails only once the sender is dropped, which is in `self`.
            let _ = updates.changed().await;
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;

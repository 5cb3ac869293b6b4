//! All sessions' objects in memory: fed by the watches and by the answers to our own writes, read by
//! everybody.
//!
//! Every update derives the session's status, publishes it, and queues the session for the controller.

mod feed;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use parking_lot::Mutex;
use session_key::SessionHash;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};

use super::{
    cached_session::{CachedSession, LocalState, ProbeTarget, WorkItem},
    desired::run_of,
    session::{self, reported_ports},
    status::{Derived, ProbeResults, pod::RunningContainer},
};
use crate::{
    clock::Clock,
    model::{Password, Phase, SessionStatus},
    publisher::Publisher,
};

/// The pause between two checks whether all sessions were probed.
const PROBED_CHECK_INTERVAL: Duration = Duration::from_millis(20);
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
    entries: HashMap<SessionHash, Box<CachedSession>>,
    /// The names of the nodes, each once.
    nodes: HashSet<Arc<str>>,
    /// How far each watch has come: an unknown object that is older than that was deleted.
    observed_versions: [u64; 4],
    /// All watches are synced. Nothing is published before.
    is_synced: bool,
    /// The UIDs of claims that can't be read, each reported once.
    unreadable: BTreeSet<String>,
    /// How often a claim was found that contradicts its hash, or its earlier owner.
    conflicts: u64,
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
        sessions.entries.iter().filter_map(|(hash, entry)| Some((*hash, entry.node.clone()?))).collect()
    }

    /// Waits until every watch has listed all objects.
    pub(super) async fn wait_synced(&self) {
        // It fails only once the sender is dropped, which is in `self`.
        let _ = self.synced.subscribe().wait_for(|synced| synced.iter().all(|one| *one)).await;
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
        let (has_pvc, has_pod) = (entry.pvc.exists(), entry.pod.exists());
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
                (entry.session, entry.probes) = (None, ProbeResults::default());
                entry.local = LocalState::default();
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
        let unsettled = sessions.entries.iter().filter(|(_, entry)| !entry.is_settled());
        for hash in unsettled.map(|(hash, _)| *hash).collect::<Vec<_>>() {
            self.publish(hash, &mut sessions);
        }
    }

    pub(super) fn pvc(&self, hash: SessionHash) -> Option<PersistentVolumeClaim> {
        self.sessions.lock().entries.get(&hash)?.pvc.object()
    }

    pub(super) fn pod(&self, hash: SessionHash) -> Option<Pod> {
        self.sessions.lock().entries.get(&hash)?.pod.object()
    }

    /// Returns the ports that the run with this id has reported.
    pub(super) fn reported_ports(&self, hash: SessionHash, run_id: &str) -> Vec<u16> {
        let sessions = self.sessions.lock();
        let entry = sessions.entries.get(&hash).filter(|entry| entry.has_reported_ports);
        let pvc = entry.and_then(|entry| entry.pvc.object());
        pvc.map(|pvc| reported_ports(&pvc, run_id)).unwrap_or_default()
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
        self.update_local(hash, |local| local.is_commander = true);
    }

    /// Updates what this router knows of the session because of what it did itself.
    pub(super) fn update_local(&self, hash: SessionHash, change: impl FnOnce(&mut LocalState)) {
        let mut sessions = self.sessions.lock();
        // The session may never come to exist.
        let new =
            || Box::new(CachedSession { empty_since: Some(Instant::now()), ..CachedSession::default() });
        change(&mut sessions.entries.entry(hash).or_insert_with(new).local);
    }

    /// Returns the password of the Pod that this router has created, once.
    pub(super) fn take_password(&self, hash: SessionHash) -> Option<Password> {
        let mut sessions = self.sessions.lock();
        let entry = sessions.entries.get_mut(&hash)?;
        let (run, password) = entry.local.password.take()?;
        (run_of(&entry.pod.object()?) == Some(&run)).then_some(password)
    }

    pub(super) fn work_item(&self, hash: SessionHash) -> Option<WorkItem> {
        self.sessions.lock().entries.get(&hash).map(|entry| entry.work_item())
    }

    pub(super) fn probe_target(&self, hash: SessionHash) -> ProbeTarget {
        self.sessions.lock().entries.get(&hash).map(|entry| entry.probe_target()).unwrap_or_default()
    }

    /// Returns whether this run is known to clone: opencode has not been started.
    pub(super) fn is_cloning(&self, hash: SessionHash, run_id: &str) -> bool {
        let sessions = self.sessions.lock();
        sessions.entries.get(&hash).is_some_and(|entry| entry.probes.is_cloning(run_id))
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
        // Each check reads all sessions, and there may be thousands of updates.
        while !all_probed() {
            sleep(PROBED_CHECK_INTERVAL).await;
        }
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

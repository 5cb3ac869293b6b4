//! All that is known of the sessions, in one place: fed by the watches and by the answers to our own calls, read by
//! everybody. Whatever changes is told to who watches, and to the session's loop.

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
use tokio_util::task::AbortOnDropHandle;

use super::{
    cache::{Versioned, has_password, is_cloning, trim, version},
    desired::{Desired, DesiredState},
    reconcile::{Action, Current, reconcile},
    session,
    status::{self, Derived, ProbeResults},
    status::{fields::event_time, pod::PodState},
};
use crate::{
    clock::Clock,
    model::{Phase, Session, SessionStatus},
    publisher::Publisher,
};

/// Events kept of one session.
const EVENTS: usize = 40;
/// How long a session that is gone is remembered, so that late news of it do not bring it back.
const REMEMBERED: Duration = Duration::from_secs(60);

/// The watches that an store is fed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WatchSource {
    Pvcs,
    Pods,
    PodEvents,
    PvcEvents,
}

/// The store.
pub(super) struct Store {
    state: Mutex<StoreState>,
    publisher: Arc<Publisher>,
    clock: Arc<dyn Clock>,
    /// Whose loop is to look again.
    queue: mpsc::UnboundedSender<SessionHash>,
    /// How many of the watches have told all there is.
    listed: watch::Sender<[bool; 4]>,
    /// Counts changes, for who waits for one.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct StoreState {
    entries: BTreeMap<SessionHash, Entry>,
    /// How far each watch has come: what is older than that, and not known, is gone.
    passed: [u64; 4],
    /// All there is was listed; until then nothing follows from what is known.
    live: bool,
    /// Claims that can't be read; told once.
    strange: BTreeSet<String>,
}

#[derive(Default)]
struct Entry {
    pvc: Versioned<PersistentVolumeClaim>,
    pod: Versioned<Pod>,
    /// By UID.
    events: BTreeMap<String, Event>,
    session: Option<(String, Arc<Session>)>,
    probes: ProbeResults,
    state: Option<PodState>,
    desired: Option<Desired>,
    /// A verb was called here: this router is the first to act.
    is_local: bool,
    empty_since: Option<Instant>,
    /// What is asked of the run named.
    probe: Option<(String, AbortOnDropHandle<()>)>,
    /// Whose clone's log is read.
    reader: Option<(String, AbortOnDropHandle<()>)>,
}

/// What a session's loop sees.
pub(super) struct WorkItem {
    pub(super) action: Action,
    pub(super) session: Option<Arc<Session>>,
    pub(super) pvc: Option<Arc<PersistentVolumeClaim>>,
    pub(super) pod: Option<Arc<Pod>>,
    pub(super) is_local: bool,
}

impl Store {
    pub(super) fn new(
        publisher: Arc<Publisher>,
        clock: Arc<dyn Clock>,
    ) -> (Self, mpsc::UnboundedReceiver<SessionHash>) {
        let (queue, receiver) = mpsc::unbounded_channel();
        let store = Self {
            state: Mutex::default(),
            publisher,
            clock,
            queue,
            listed: watch::Sender::new([false; 4]),
            changes: watch::Sender::new(0),
        };
        (store, receiver)
    }

    /// Waits until every watch has told all there is.
    pub(super) async fn wait_synced(&self) {
        // The sender is in `self`: it can't be gone.
        let _ = self.listed.subscribe().wait_for(|listed| listed.iter().all(|one| *one)).await;
    }

    pub(super) fn apply_pvc(&self, mut pvc: PersistentVolumeClaim) {
        pvc.metadata.managed_fields = None;
        pvc.spec = None;
        let Some(hash) = session::hash_of(&pvc.metadata) else { return };
        let version = version(&pvc.metadata);
        self.update(hash, |entry, passed| {
            entry.pvc.set(Some(pvc), version, passed[WatchSource::Pvcs as usize])
        });
    }

    pub(super) fn apply_pod(&self, mut pod: Pod) {
        trim(&mut pod);
        let Some(hash) = session::hash_of(&pod.metadata) else { return };
        let version = version(&pod.metadata);
        self.update(hash, |entry, passed| {
            entry.pod.set(Some(pod), version, passed[WatchSource::Pods as usize])
        });
    }

    pub(super) fn forget_pvc(&self, pvc: &PersistentVolumeClaim) {
        let Some(hash) = session::hash_of(&pvc.metadata) else { return };
        self.update(hash, |entry, _| entry.pvc.set(None, version(&pvc.metadata), 0));
    }

    pub(super) fn forget_pod(&self, pod: &Pod) {
        let Some(hash) = session::hash_of(&pod.metadata) else { return };
        self.update(hash, |entry, _| entry.pod.set(None, version(&pod.metadata), 0));
    }

    /// An Event about a Pod or claim of ours.
    pub(super) fn apply_event(&self, mut event: Event) {
        event.metadata.managed_fields = None;
        let name = event.involved_object.name.as_deref().unwrap_or_default();
        let hash = name.strip_prefix("opencode-session-").or_else(|| name.strip_prefix("opencode-pvc-"));
        let Some(hash) = hash.and_then(|hash| SessionHash::parse(hash).ok()) else { return };
        let Some(uid) = event.metadata.uid.clone() else { return };
        self.update(hash, |entry, _| {
            entry.events.insert(uid, event);
            if entry.events.len() > EVENTS {
                let oldest = entry.events.iter().min_by_key(|(_, event)| event_time(event));
                if let Some(oldest) = oldest.map(|(uid, _)| uid.clone()) {
                    entry.events.remove(&oldest);
                }
            }
            true
        });
    }

    /// The watch has told all that was so until then.
    pub(super) fn observed_version(&self, source: WatchSource, version: u64) {
        let passed = &mut self.state.lock().passed[source as usize];
        *passed = version.max(*passed);
    }

    /// All there was at the version `newest` was told: what was not told of is gone, unless it is newer.
    pub(super) fn synced(&self, source: WatchSource, there: &BTreeSet<SessionHash>, newest: u64) {
        let gone: Vec<_> = {
            let mut state = self.state.lock();
            let passed = &mut state.passed[source as usize];
            *passed = newest.max(*passed);
            let is_there = |entry: &Entry| match source {
                WatchSource::Pvcs => entry.pvc.object.is_some() && entry.pvc.version <= newest,
                WatchSource::Pods => entry.pod.object.is_some() && entry.pod.version <= newest,
                WatchSource::PodEvents | WatchSource::PvcEvents => false,
            };
            let gone = state.entries.iter().filter(|(hash, entry)| !there.contains(hash) && is_there(entry));
            gone.map(|(hash, _)| *hash).collect()
        };
        for hash in gone {
            self.update(hash, |entry, _| match source {
                WatchSource::Pvcs if entry.pvc.version <= newest => entry.pvc.set(None, newest, 0),
                WatchSource::Pods if entry.pod.version <= newest => entry.pod.set(None, newest, 0),
                // It was made anew just now.
                _ => false,
            });
        }
        let mut listed = *self.listed.borrow();
        listed[source as usize] = true;
        if listed.iter().all(|one| *one) {
            self.go_live();
        }
        self.listed.send_modify(|listed| listed[source as usize] = true);
    }

    /// Changes what is known of a session, and tells what follows from it.
    fn update(&self, hash: SessionHash, how: impl FnOnce(&mut Entry, &[u64; 4]) -> bool) {
        let mut state = self.state.lock();
        let passed = state.passed;
        let entry = state.entries.entry(hash).or_default();
        if how(entry, &passed) && state.live {
            self.publish(hash, &mut state);
        }
    }

    /// Tells everything, for the first time.
    fn go_live(&self) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.live, true) {
            let hashes: Vec<_> = state.entries.keys().copied().collect();
            for hash in hashes {
                self.publish(hash, &mut state);
            }
        }
    }

    pub(super) fn update_probes(&self, hash: SessionHash, how: impl FnOnce(&mut ProbeResults)) {
        self.update(hash, |entry, _| {
            how(&mut entry.probes);
            true
        });
    }

    /// Works out anew what is told. Under the lock, so that what is told follows what is known.
    fn publish(&self, hash: SessionHash, state: &mut StoreState) {
        let Some(entry) = state.entries.get_mut(&hash) else { return };
        let outlook = entry.outlook(self.clock.now(), &mut state.strange);
        entry.empty_since = match (&entry.pvc.object, &entry.pod.object) {
            (None, None) => entry.empty_since.or(Some(Instant::now())),
            _ => None,
        };
        match outlook {
            Some(Derived { status, desired, pod_state }) => {
                (entry.desired, entry.state) = (Some(desired), Some(pod_state));
                if self.publisher.get(hash).is_none_or(|shown| *shown != status) {
                    self.publisher.publish(&status);
                }
            }
            None => {
                (entry.desired, entry.state) = (None, None);
                match (&entry.pvc.object, &entry.pod.object, self.publisher.get(hash)) {
                    // It is gone once its process is.
                    (None, Some(_), Some(shown)) => {
                        if shown.phase != Phase::Stopping {
                            let stages = Vec::new();
                            let seen = SessionStatus { phase: Phase::Stopping, stages, ..(*shown).clone() };
                            self.publisher.publish(&seen);
                        }
                    }
                    (None, None, _) => {
                        (entry.session, entry.is_local, entry.probes) =
                            (None, false, ProbeResults::default());
                        self.publisher.remove(hash);
                    }
                    _ => self.publisher.remove(hash),
                }
            }
        }
        self.changes.send_modify(|count| *count += 1);
        // The receiver is gone only when all ends.
        let _ = self.queue.send(hash);
    }

    /// Time passes: what depends on it is told, and what is long gone is forgotten.
    pub(super) fn tick(&self) {
        let mut state = self.state.lock();
        state.entries.retain(|_, entry| entry.empty_since.is_none_or(|since| since.elapsed() < REMEMBERED));
        let hashes: Vec<_> = state.entries.keys().copied().collect();
        for hash in hashes {
            let is_settled = |entry: &Entry| {
                matches!(entry.state, Some(PodState::Stopped)) || entry.probes.ready.is_some()
            };
            if state.live && state.entries.get(&hash).is_some_and(|entry| !is_settled(entry)) {
                self.publish(hash, &mut state);
            }
        }
    }

    pub(super) fn pvc(&self, hash: SessionHash) -> Option<Arc<PersistentVolumeClaim>> {
        self.state.lock().entries.get(&hash)?.pvc.object.clone()
    }

    pub(super) fn pod(&self, hash: SessionHash) -> Option<Arc<Pod>> {
        self.state.lock().entries.get(&hash)?.pod.object.clone()
    }

    pub(super) fn status(&self, hash: SessionHash) -> Option<Arc<SessionStatus>> {
        self.publisher.get(hash)
    }

    /// A verb was called here: this router acts at once, where others wait a little for it.
    pub(super) fn mark_local(&self, hash: SessionHash) {
        self.state.lock().entries.entry(hash).or_default().is_local = true;
    }

    pub(super) fn work_item(&self, hash: SessionHash) -> Option<WorkItem> {
        let state = self.state.lock();
        let entry = state.entries.get(&hash)?;
        let seen =
            Current::of(entry.pvc.object.as_deref(), entry.pod.object.as_deref(), entry.state.as_ref());
        let desired =
            entry.desired.clone().unwrap_or(Desired { state: DesiredState::Unmanaged, since: None });
        Some(WorkItem {
            action: reconcile(&desired, &seen),
            session: entry.session.as_ref().map(|(_, session)| session.clone()),
            pvc: entry.pvc.object.clone(),
            pod: entry.pod.object.clone(),
            is_local: entry.is_local,
        })
    }

    /// Has what runs there asked until it answers, where nobody does that yet; and the other way round.
    pub(super) fn attend(
        &self,
        hash: SessionHash,
        probe: impl FnOnce(super::status::pod::RunningContainer, bool) -> AbortOnDropHandle<()>,
        read: impl FnOnce(String) -> AbortOnDropHandle<()>,
    ) {
        let mut state = self.state.lock();
        let Some(entry) = state.entries.get_mut(&hash) else { return };
        let up = match &entry.state {
            Some(PodState::Running(up)) => Some(up.clone()),
            _ => None,
        };
        match up {
            Some(up) => {
                let is_known =
                    entry.probes.ready.as_ref().is_some_and(|ready| ready.run_id == up.run_id)
                        || entry.probes.unresponsive.as_ref().is_some_and(|unresponsive| {
                            unresponsive.run_id == up.run_id && unresponsive.is_over
                        });
                let is_asked = entry.probe.as_ref().is_some_and(|(run_id, _)| *run_id == up.run_id);
                if !is_known && !is_asked {
                    let has_password = entry.pod.object.as_deref().is_some_and(has_password);
                    entry.probe = Some((up.run_id.clone(), probe(up, has_password)));
                }
            }
            None => entry.probe = None,
        }
        let pod = entry.pod.object.as_deref().filter(|pod| is_cloning(pod));
        match pod.and_then(|pod| pod.metadata.uid.clone()) {
            Some(uid) if entry.reader.as_ref().is_none_or(|(of, _)| *of != uid) => {
                entry.reader = Some((uid.clone(), read(uid)));
            }
            Some(_) => {}
            None => entry.reader = None,
        }
    }

    /// Whether everything that runs was asked whether it answers.
    fn all_asked(&self) -> bool {
        self.state.lock().entries.values().all(|entry| match &entry.state {
            Some(PodState::Running(up)) => {
                entry.probes.ready.as_ref().is_some_and(|ready| ready.run_id == up.run_id)
                    || entry.probes.unresponsive.is_some()
            }
            _ => true,
        })
    }

    /// Waits until what runs was found to answer.
    pub(super) async fn asked(&self) {
        self.until(|| self.all_asked().then_some(())).await;
    }

    /// Waits until `look` gives something; it is asked after each change.
    pub(super) async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(found) = look() {
                return found;
            }
            // The sender is in `self`: it can't be gone.
            let _ = changes.changed().await;
        }
    }
}

impl Entry {
    fn outlook(&mut self, now: std::time::SystemTime, strange: &mut BTreeSet<String>) -> Option<Derived> {
        let pvc = self.pvc.object.clone()?;
        let uid = pvc.metadata.uid.clone().unwrap_or_default();
        if self.session.as_ref().is_none_or(|(of, _)| *of != uid) {
            match session::session(&pvc) {
                Ok(session) => self.session = Some((uid, Arc::new(session))),
                Err(why) => {
                    if strange.insert(uid) {
                        tracing::warn!(
                            claim = pvc.metadata.name,
                            why,
                            "a session can't be read; it is left alone"
                        );
                    }
                    self.session = None;
                    return None;
                }
            }
        }
        let (_, session) = self.session.as_ref()?;
        let events: Vec<_> = self.events.values().cloned().collect();
        let pod = self.pod.object.as_deref();
        Some(status::derive(session, (&pvc, pod, &events), &self.probes, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_new_list_does_not_tell_of_is_gone_unless_it_is_newer() {
        let clock: Arc<dyn Clock> = Arc::new(crate::clock::SystemClock);
        let publisher = Publisher::new();
        let (store, _queue) = Store::new(publisher.clone(), clock);
        for source in [WatchSource::Pvcs, WatchSource::Pods, WatchSource::PodEvents, WatchSource::PvcEvents] {
            store.synced(source, &BTreeSet::new(), 0);
        }
        let hashes = [1, 2].map(|byte| SessionHash::from_bytes([byte; 6]));
        for (hash, version) in hashes.into_iter().zip(["5", "9"]) {
            store.apply_pvc(claim(hash, version));
        }
        assert!(hashes.iter().all(|hash| publisher.get(*hash).is_some()));
        // A list that was made before the second one was.
        store.synced(WatchSource::Pvcs, &BTreeSet::from([hashes[0]]), 7);
        assert!(hashes.iter().all(|hash| publisher.get(*hash).is_some()));
        store.synced(WatchSource::Pvcs, &BTreeSet::from([hashes[1]]), 20);
        assert!(publisher.get(hashes[0]).is_none() && publisher.get(hashes[1]).is_some());
        // The newest of all is the one that is gone.
        store.synced(WatchSource::Pvcs, &BTreeSet::new(), 21);
        assert!(publisher.get(hashes[1]).is_none());
        // What was answered before that comes after it, also of one that was never heard of.
        for hash in [hashes[1], SessionHash::from_bytes([3; 6])] {
            store.apply_pvc(claim(hash, "15"));
            assert!(publisher.get(hash).is_none());
            store.apply_pvc(claim(hash, "22"));
            assert!(publisher.get(hash).is_some());
        }
    }

    fn claim(hash: SessionHash, version: &str) -> PersistentVolumeClaim {
        serde_json::from_value(serde_json::json!({ "metadata": {
            "name": format!("opencode-pvc-{hash}"), "uid": version, "resourceVersion": version,
            "labels": { "opencode.ai/session-hash": hash.to_string() },
            "annotations": { "opencode.ai/user-email": "alice@example.com" },
        } }))
        .unwrap()
    }
}

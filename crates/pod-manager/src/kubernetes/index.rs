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
    kept::{Slot, has_password, is_cloning, trim, version},
    observe::{self, Facts, Outlook},
    record,
    sight::State,
    step::{Action, Seen, step},
    wanted::{Wanted, What},
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

/// The watches that an index is fed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Pvcs,
    Pods,
    PodEvents,
    PvcEvents,
}

/// The index.
pub(super) struct Index {
    world: Mutex<World>,
    publisher: Arc<Publisher>,
    clock: Arc<dyn Clock>,
    /// Whose loop is to look again.
    kicks: mpsc::UnboundedSender<SessionHash>,
    /// How many of the watches have told all there is.
    listed: watch::Sender<[bool; 4]>,
    /// Counts changes, for who waits for one.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct World {
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
    pvc: Slot<PersistentVolumeClaim>,
    pod: Slot<Pod>,
    /// By UID.
    events: BTreeMap<String, Event>,
    session: Option<(String, Arc<Session>)>,
    facts: Facts,
    state: Option<State>,
    wanted: Option<Wanted>,
    /// A verb was called here: this router is the first to act.
    mine: bool,
    empty_since: Option<Instant>,
    /// What is asked of the run named.
    probe: Option<(String, AbortOnDropHandle<()>)>,
    /// Whose clone's log is read.
    reader: Option<(String, AbortOnDropHandle<()>)>,
}

/// What a session's loop sees.
pub(super) struct Look {
    pub(super) action: Action,
    pub(super) session: Option<Arc<Session>>,
    pub(super) pvc: Option<Arc<PersistentVolumeClaim>>,
    pub(super) pod: Option<Arc<Pod>>,
    pub(super) mine: bool,
}

impl Index {
    pub(super) fn new(
        publisher: Arc<Publisher>,
        clock: Arc<dyn Clock>,
    ) -> (Self, mpsc::UnboundedReceiver<SessionHash>) {
        let (kicks, kicked) = mpsc::unbounded_channel();
        let index = Self {
            world: Mutex::default(),
            publisher,
            clock,
            kicks,
            listed: watch::Sender::new([false; 4]),
            changes: watch::Sender::new(0),
        };
        (index, kicked)
    }

    /// Waits until every watch has told all there is.
    pub(super) async fn all_listed(&self) {
        // The sender is in `self`: it can't be gone.
        let _ = self.listed.subscribe().wait_for(|listed| listed.iter().all(|one| *one)).await;
    }

    pub(super) fn apply_pvc(&self, mut pvc: PersistentVolumeClaim) {
        pvc.metadata.managed_fields = None;
        pvc.spec = None;
        let Some(hash) = record::hash_of(&pvc.metadata) else { return };
        let version = version(&pvc.metadata);
        self.change(hash, |entry, passed| entry.pvc.put(Some(pvc), version, passed[Source::Pvcs as usize]));
    }

    pub(super) fn apply_pod(&self, mut pod: Pod) {
        trim(&mut pod);
        let Some(hash) = record::hash_of(&pod.metadata) else { return };
        let version = version(&pod.metadata);
        self.change(hash, |entry, passed| entry.pod.put(Some(pod), version, passed[Source::Pods as usize]));
    }

    pub(super) fn forget_pvc(&self, pvc: &PersistentVolumeClaim) {
        let Some(hash) = record::hash_of(&pvc.metadata) else { return };
        self.change(hash, |entry, _| entry.pvc.put(None, version(&pvc.metadata), 0));
    }

    pub(super) fn forget_pod(&self, pod: &Pod) {
        let Some(hash) = record::hash_of(&pod.metadata) else { return };
        self.change(hash, |entry, _| entry.pod.put(None, version(&pod.metadata), 0));
    }

    /// An Event about a Pod or claim of ours.
    pub(super) fn apply_event(&self, mut event: Event) {
        event.metadata.managed_fields = None;
        let name = event.involved_object.name.as_deref().unwrap_or_default();
        let hash = name.strip_prefix("opencode-session-").or_else(|| name.strip_prefix("opencode-pvc-"));
        let Some(hash) = hash.and_then(|hash| SessionHash::parse(hash).ok()) else { return };
        let Some(uid) = event.metadata.uid.clone() else { return };
        self.change(hash, |entry, _| {
            entry.events.insert(uid, event);
            if entry.events.len() > EVENTS {
                let oldest = entry.events.iter().min_by_key(|(_, event)| super::sight::event_time(event));
                if let Some(oldest) = oldest.map(|(uid, _)| uid.clone()) {
                    entry.events.remove(&oldest);
                }
            }
            true
        });
    }

    /// The watch has told all that was so until then.
    pub(super) fn passed(&self, source: Source, version: u64) {
        let passed = &mut self.world.lock().passed[source as usize];
        *passed = version.max(*passed);
    }

    /// All there was at the version `newest` was told: what was not told of is gone, unless it is newer.
    pub(super) fn listed(&self, source: Source, there: &BTreeSet<SessionHash>, newest: u64) {
        let gone: Vec<_> = {
            let mut world = self.world.lock();
            let passed = &mut world.passed[source as usize];
            *passed = newest.max(*passed);
            let is_there = |entry: &Entry| match source {
                Source::Pvcs => entry.pvc.object.is_some() && entry.pvc.version <= newest,
                Source::Pods => entry.pod.object.is_some() && entry.pod.version <= newest,
                Source::PodEvents | Source::PvcEvents => false,
            };
            let gone = world.entries.iter().filter(|(hash, entry)| !there.contains(hash) && is_there(entry));
            gone.map(|(hash, _)| *hash).collect()
        };
        for hash in gone {
            self.change(hash, |entry, _| match source {
                Source::Pvcs if entry.pvc.version <= newest => entry.pvc.put(None, newest, 0),
                Source::Pods if entry.pod.version <= newest => entry.pod.put(None, newest, 0),
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
    fn change(&self, hash: SessionHash, how: impl FnOnce(&mut Entry, &[u64; 4]) -> bool) {
        let mut world = self.world.lock();
        let passed = world.passed;
        let entry = world.entries.entry(hash).or_default();
        if how(entry, &passed) && world.live {
            self.tell(hash, &mut world);
        }
    }

    /// Tells everything, for the first time.
    fn go_live(&self) {
        let mut world = self.world.lock();
        if !std::mem::replace(&mut world.live, true) {
            let hashes: Vec<_> = world.entries.keys().copied().collect();
            for hash in hashes {
                self.tell(hash, &mut world);
            }
        }
    }

    pub(super) fn learn(&self, hash: SessionHash, how: impl FnOnce(&mut Facts)) {
        self.change(hash, |entry, _| {
            how(&mut entry.facts);
            true
        });
    }

    /// Works out anew what is told. Under the lock, so that what is told follows what is known.
    fn tell(&self, hash: SessionHash, world: &mut World) {
        let Some(entry) = world.entries.get_mut(&hash) else { return };
        let outlook = entry.outlook(self.clock.now(), &mut world.strange);
        entry.empty_since = match (&entry.pvc.object, &entry.pod.object) {
            (None, None) => entry.empty_since.or(Some(Instant::now())),
            _ => None,
        };
        match outlook {
            Some(Outlook { observed, wanted, state }) => {
                (entry.wanted, entry.state) = (Some(wanted), Some(state));
                if self.publisher.get(hash).is_none_or(|shown| *shown != observed) {
                    self.publisher.publish(&observed);
                }
            }
            None => {
                (entry.wanted, entry.state) = (None, None);
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
                        (entry.session, entry.mine, entry.facts) = (None, false, Facts::default());
                        self.publisher.remove(hash);
                    }
                    _ => self.publisher.remove(hash),
                }
            }
        }
        self.changes.send_modify(|count| *count += 1);
        // The receiver is gone only when all ends.
        let _ = self.kicks.send(hash);
    }

    /// Time passes: what depends on it is told, and what is long gone is forgotten.
    pub(super) fn tick(&self) {
        let mut world = self.world.lock();
        world.entries.retain(|_, entry| entry.empty_since.is_none_or(|since| since.elapsed() < REMEMBERED));
        let hashes: Vec<_> = world.entries.keys().copied().collect();
        for hash in hashes {
            let is_settled =
                |entry: &Entry| matches!(entry.state, Some(State::Stopped)) || entry.facts.ready.is_some();
            if world.live && world.entries.get(&hash).is_some_and(|entry| !is_settled(entry)) {
                self.tell(hash, &mut world);
            }
        }
    }

    pub(super) fn pvc(&self, hash: SessionHash) -> Option<Arc<PersistentVolumeClaim>> {
        self.world.lock().entries.get(&hash)?.pvc.object.clone()
    }

    pub(super) fn pod(&self, hash: SessionHash) -> Option<Arc<Pod>> {
        self.world.lock().entries.get(&hash)?.pod.object.clone()
    }

    pub(super) fn observed(&self, hash: SessionHash) -> Option<Arc<SessionStatus>> {
        self.publisher.get(hash)
    }

    /// A verb was called here: this router acts at once, where others wait a little for it.
    pub(super) fn take(&self, hash: SessionHash) {
        self.world.lock().entries.entry(hash).or_default().mine = true;
    }

    pub(super) fn look(&self, hash: SessionHash) -> Option<Look> {
        let world = self.world.lock();
        let entry = world.entries.get(&hash)?;
        let seen = Seen::of(entry.pvc.object.as_deref(), entry.pod.object.as_deref(), entry.state.as_ref());
        let wanted = entry.wanted.clone().unwrap_or(Wanted { what: What::AsItIs, at: None });
        Some(Look {
            action: step(&wanted, &seen),
            session: entry.session.as_ref().map(|(_, session)| session.clone()),
            pvc: entry.pvc.object.clone(),
            pod: entry.pod.object.clone(),
            mine: entry.mine,
        })
    }

    /// Has what runs there asked until it answers, where nobody does that yet; and the other way round.
    pub(super) fn attend(
        &self,
        hash: SessionHash,
        probe: impl FnOnce(super::sight::Up, bool) -> AbortOnDropHandle<()>,
        read: impl FnOnce(String) -> AbortOnDropHandle<()>,
    ) {
        let mut world = self.world.lock();
        let Some(entry) = world.entries.get_mut(&hash) else { return };
        let up = match &entry.state {
            Some(State::Up(up)) => Some(up.clone()),
            _ => None,
        };
        match up {
            Some(up) => {
                let is_known = entry.facts.ready.as_ref().is_some_and(|ready| ready.run == up.run)
                    || entry
                        .facts
                        .silent
                        .as_ref()
                        .is_some_and(|silent| silent.run == up.run && silent.is_over);
                let is_asked = entry.probe.as_ref().is_some_and(|(run, _)| *run == up.run);
                if !is_known && !is_asked {
                    let has_password = entry.pod.object.as_deref().is_some_and(has_password);
                    entry.probe = Some((up.run.clone(), probe(up, has_password)));
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
        self.world.lock().entries.values().all(|entry| match &entry.state {
            Some(State::Up(up)) => {
                entry.facts.ready.as_ref().is_some_and(|ready| ready.run == up.run)
                    || entry.facts.silent.is_some()
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
    fn outlook(&mut self, now: std::time::SystemTime, strange: &mut BTreeSet<String>) -> Option<Outlook> {
        let pvc = self.pvc.object.clone()?;
        let uid = pvc.metadata.uid.clone().unwrap_or_default();
        if self.session.as_ref().is_none_or(|(of, _)| *of != uid) {
            match record::session(&pvc) {
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
        Some(observe::of(session, (&pvc, pod, &events), &self.facts, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_new_list_does_not_tell_of_is_gone_unless_it_is_newer() {
        let clock: Arc<dyn Clock> = Arc::new(crate::clock::SystemClock);
        let publisher = Publisher::new();
        let (index, _kicked) = Index::new(publisher.clone(), clock);
        for source in [Source::Pvcs, Source::Pods, Source::PodEvents, Source::PvcEvents] {
            index.listed(source, &BTreeSet::new(), 0);
        }
        let hashes = [1, 2].map(|byte| SessionHash::from_bytes([byte; 6]));
        for (hash, version) in hashes.into_iter().zip(["5", "9"]) {
            index.apply_pvc(claim(hash, version));
        }
        assert!(hashes.iter().all(|hash| publisher.get(*hash).is_some()));
        // A list that was made before the second one was.
        index.listed(Source::Pvcs, &BTreeSet::from([hashes[0]]), 7);
        assert!(hashes.iter().all(|hash| publisher.get(*hash).is_some()));
        index.listed(Source::Pvcs, &BTreeSet::from([hashes[1]]), 20);
        assert!(publisher.get(hashes[0]).is_none() && publisher.get(hashes[1]).is_some());
        // The newest of all is the one that is gone.
        index.listed(Source::Pvcs, &BTreeSet::new(), 21);
        assert!(publisher.get(hashes[1]).is_none());
        // What was answered before that comes after it, also of one that was never heard of.
        for hash in [hashes[1], SessionHash::from_bytes([3; 6])] {
            index.apply_pvc(claim(hash, "15"));
            assert!(publisher.get(hash).is_none());
            index.apply_pvc(claim(hash, "22"));
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

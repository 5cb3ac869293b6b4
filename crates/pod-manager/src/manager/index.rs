use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::SystemTime,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use session_key::{Identity, SessionHash};

use super::{
    changes::Hub,
    slot::{NewRun, Slot},
};
use crate::{
    backend::WatchEvent,
    model::{Session, SessionStatus},
};

/// The sessions there are. Reading takes no lock; coming and going copies the maps, which is rare.
#[derive(Default)]
pub(super) struct Index {
    maps: ArcSwap<Maps>,
    /// Held by who changes `maps`.
    writing: Mutex<()>,
}

#[derive(Default, Clone)]
struct Maps {
    by_hash: HashMap<SessionHash, Arc<Slot>>,
    by_owner: HashMap<Identity, Vec<Arc<Slot>>>,
}

impl Index {
    /// Calls `how` with the session, without touching its count of owners.
    pub(super) fn with<T>(&self, hash: SessionHash, how: impl FnOnce(Option<&Arc<Slot>>) -> T) -> T {
        how(self.maps.load().by_hash.get(&hash))
    }

    pub(super) fn get(&self, hash: SessionHash) -> Option<Arc<Slot>> {
        self.with(hash, |slot| slot.cloned())
    }

    /// The user's session; another's is not there.
    pub(super) fn of(&self, who: &Identity, hash: SessionHash) -> Option<Arc<Slot>> {
        self.with(hash, |slot| slot.filter(|slot| slot.owner == *who).cloned())
    }

    pub(super) fn all_of(&self, who: &Identity) -> Vec<Arc<Slot>> {
        self.maps.load().by_owner.get(who).cloned().unwrap_or_default()
    }

    pub(super) fn all(&self) -> Vec<Arc<Slot>> {
        self.maps.load().by_hash.values().cloned().collect()
    }

    /// Shows a session whose start was accepted, until the backend tells of it.
    pub(super) fn expect(&self, session: &Arc<Session>, now: SystemTime, hub: &Hub) {
        // Under the lock, so that `forget` does not take the slot away in between.
        let _writing = self.writing.lock();
        self.slot_of(session).expect(session, now, hub);
    }

    /// Forgets those of these sessions that are not there and not expected.
    pub(super) fn forget(&self, gone: &[Arc<Slot>]) {
        if gone.is_empty() {
            return;
        }
        let _writing = self.writing.lock();
        let mut maps = Maps::clone(&self.maps.load());
        for slot in gone.iter().filter(|slot| slot.is_vacant()) {
            maps.remove(slot);
        }
        self.maps.store(Arc::new(maps));
    }

    /// The session's slot, made where there is none; called under the lock.
    fn slot_of(&self, session: &Session) -> Arc<Slot> {
        if let Some(slot) = self.get(session.hash) {
            return slot;
        }
        let mut maps = Maps::clone(&self.maps.load());
        let slot = maps.insert(session.hash, &session.owner);
        self.maps.store(Arc::new(maps));
        slot
    }

    /// Takes in what the backend tells. Gives the runs that began with it. `first`: it is the first that is told.
    pub(super) fn take_in(&self, news: &WatchEvent, now: SystemTime, first: bool, hub: &Hub) -> Vec<NewRun> {
        match news {
            WatchEvent::Snapshot(all) => {
                self.make_room(all);
                let runs = all.iter().filter_map(|observed| self.apply(observed, now, first, hub)).collect();
                let there: HashSet<_> = all.iter().map(|one| one.session.hash).collect();
                let mut gone = self.all();
                gone.retain(|slot| !there.contains(&slot.hash));
                for slot in &gone {
                    slot.removed(now, hub);
                }
                self.forget(&gone);
                runs
            }
            WatchEvent::Applied(observed) => self.apply(observed, now, false, hub).into_iter().collect(),
            WatchEvent::Removed(hash) => {
                if let Some(slot) = self.get(*hash) {
                    slot.removed(now, hub);
                    self.forget(&[slot]);
                }
                Vec::new()
            }
        }
    }

    fn apply(
        &self,
        observed: &Arc<SessionStatus>,
        now: SystemTime,
        known: bool,
        hub: &Hub,
    ) -> Option<NewRun> {
        let slot = {
            let _writing = self.writing.lock();
            self.slot_of(&observed.session)
        };
        slot.apply(observed, now, known, hub)
    }

    /// Makes the slots of a whole snapshot in one copy.
    fn make_room(&self, all: &[Arc<SessionStatus>]) {
        let _writing = self.writing.lock();
        let mut maps = Maps::clone(&self.maps.load());
        for observed in all {
            if !maps.by_hash.contains_key(&observed.session.hash) {
                maps.insert(observed.session.hash, &observed.session.owner);
            }
        }
        self.maps.store(Arc::new(maps));
    }
}

impl Maps {
    fn insert(&mut self, hash: SessionHash, owner: &Identity) -> Arc<Slot> {
        let slot = Slot::new(hash, owner.clone());
        self.by_hash.insert(hash, slot.clone());
        self.by_owner.entry(owner.clone()).or_default().push(slot.clone());
        slot
    }

    fn remove(&mut self, slot: &Arc<Slot>) {
        // Another slot may have taken the hash since.
        if self.by_hash.get(&slot.hash).is_some_and(|there| Arc::ptr_eq(there, slot)) {
            self.by_hash.remove(&slot.hash);
        }
        if let Some(slots) = self.by_owner.get_mut(&slot.owner) {
            slots.retain(|there| !Arc::ptr_eq(there, slot));
            if slots.is_empty() {
                self.by_owner.remove(&slot.owner);
            }
        }
    }
}

//! All sessions by hash and by owner. Reading takes no lock; adding and removing copies the maps, which is
//! rare.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use session_key::{Identity, SessionHash};

use super::{
    entry::{Entry, NewRun},
    event_ring::RingBudget,
    subscriptions::Subscriptions,
};
use crate::{
    backend::WatchEvent,
    model::{Session, SessionStatus},
};

#[derive(Default)]
pub(super) struct Index {
    maps: ArcSwap<Maps>,
    /// Held while `maps` are changed.
    write_lock: Mutex<()>,
    /// How often a session was reported under another owner than before.
    conflicts: AtomicU64,
}

#[derive(Default, Clone)]
struct Maps {
    by_hash: HashMap<SessionHash, Arc<Entry>>,
    by_owner: HashMap<Identity, Vec<Arc<Entry>>>,
    /// The memory for all sessions' events.
    ring_budget: Arc<RingBudget>,
}

impl Index {
    /// Calls `read` with the entry. Cheaper than [`get`](Self::get): it does not touch the reference count,
    /// which all requests of a session would contend for.
    pub(super) fn with<T>(&self, hash: SessionHash, read: impl FnOnce(Option<&Arc<Entry>>) -> T) -> T {
        read(self.maps.load().by_hash.get(&hash))
    }

    pub(super) fn get(&self, hash: SessionHash) -> Option<Arc<Entry>> {
        self.with(hash, |entry| entry.cloned())
    }

    /// Returns the entry, if it belongs to the user.
    pub(super) fn get_owned(&self, user: &Identity, hash: SessionHash) -> Option<Arc<Entry>> {
        self.with(hash, |entry| entry.filter(|entry| entry.owner == *user).cloned())
    }

    pub(super) fn all_owned(&self, user: &Identity) -> Vec<Arc<Entry>> {
        self.maps.load().by_owner.get(user).cloned().unwrap_or_default()
    }

    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        self.maps.load().by_hash.values().cloned().collect()
    }

    pub(super) fn conflicts(&self) -> u64 {
        self.conflicts.load(Ordering::Relaxed)
    }

    /// Shows a session whose start the backend accepted, until the backend reports it.
    pub(super) fn add_pending(&self, session: &Arc<Session>, now: SystemTime, subscriptions: &Subscriptions) {
        // Both under the lock, so that `remove_vacant` does not remove the entry in between.
        let _guard = self.write_lock.lock();
        self.get_or_insert(session).set_pending_create(session, now, subscriptions);
    }

    /// Removes those of these entries that hold no session.
    pub(super) fn remove_vacant(&self, entries: &[Arc<Entry>]) {
        if !entries.iter().any(|entry| entry.is_vacant()) {
            return;
        }
        let _guard = self.write_lock.lock();
        let mut maps = Maps::clone(&self.maps.load());
        for entry in entries.iter().filter(|entry| entry.is_vacant()) {
            maps.remove(entry);
        }
        self.maps.store(Arc::new(maps));
    }

    /// Applies an event of the backend's watch. Returns the runs that it reports for the first time.
    /// `is_first`: it is the first event since this process started.
    pub(super) fn apply(
        &self,
        event: &WatchEvent,
        now: SystemTime,
        is_first: bool,
        subscriptions: &Subscriptions,
    ) -> Vec<NewRun> {
        match event {
            WatchEvent::Snapshot(all) => {
                self.insert_all(all);
                let runs = all
                    .iter()
                    .filter_map(|status| self.apply_status(status, now, is_first, subscriptions))
                    .collect();
                let reported: HashSet<_> = all.iter().map(|status| status.session.hash).collect();
                let mut removed = self.all();
                removed.retain(|entry| !reported.contains(&entry.hash));
                for entry in &removed {
                    entry.mark_removed(now, subscriptions);
                }
                self.remove_vacant(&removed);
                runs
            }
            WatchEvent::Applied(status) => {
                self.apply_status(status, now, false, subscriptions).into_iter().collect()
            }
            WatchEvent::Removed(hash) => {
                if let Some(entry) = self.get(*hash) {
                    entry.mark_removed(now, subscriptions);
                    self.remove_vacant(&[entry]);
                }
                Vec::new()
            }
        }
    }

    fn apply_status(
        &self,
        status: &Arc<SessionStatus>,
        now: SystemTime,
        ran_before: bool,
        subscriptions: &Subscriptions,
    ) -> Option<NewRun> {
        let entry = {
            let _guard = self.write_lock.lock();
            self.get_or_insert(&status.session)
        };
        if entry.owner != status.session.owner {
            if entry.set_conflict(now, subscriptions) {
                self.conflicts.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    session.hash = %entry.hash,
                    "session reported under another owner; serving it to nobody"
                );
            }
            return None;
        }
        entry.apply(status, now, ran_before, subscriptions)
    }

    /// Returns the entry with the session's hash, which may belong to another owner; adds one if there is
    /// none. Called under the lock.
    fn get_or_insert(&self, session: &Session) -> Arc<Entry> {
        if let Some(entry) = self.get(session.hash) {
            return entry;
        }
        let mut maps = Maps::clone(&self.maps.load());
        let entry = maps.insert(session.hash, &session.owner);
        self.maps.store(Arc::new(maps));
        entry
    }

    /// Adds the entries of a whole snapshot in one copy of the maps.
    fn insert_all(&self, all: &[Arc<SessionStatus>]) {
        let _guard = self.write_lock.lock();
        let mut maps = Maps::clone(&self.maps.load());
        for status in all {
            if !maps.by_hash.contains_key(&status.session.hash) {
                maps.insert(status.session.hash, &status.session.owner);
            }
        }
        self.maps.store(Arc::new(maps));
    }
}

impl Maps {
    fn insert(&mut self, hash: SessionHash, owner: &Identity) -> Arc<Entry> {
        let entry = Entry::new(hash, owner.clone(), self.ring_budget.clone());
        self.by_hash.insert(hash, entry.clone());
        self.by_owner.entry(owner.clone()).or_default().push(entry.clone());
        entry
    }

    fn remove(&mut self, entry: &Arc<Entry>) {
        // Another entry may have this hash by now.
        if self.by_hash.get(&entry.hash).is_some_and(|current| Arc::ptr_eq(current, entry)) {
            self.by_hash.remove(&entry.hash);
        }
        if let Some(entries) = self.by_owner.get_mut(&entry.owner) {
            entries.retain(|current| !Arc::ptr_eq(current, entry));
            if entries.is_empty() {
                self.by_owner.remove(&entry.owner);
            }
        }
    }
}

//! The requests that wait for sessions: how many may, and the starts that they share.

use std::{
    collections::{HashMap, hash_map},
    hash::Hash,
    sync::Arc,
};

use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use session_key::{Identity, SessionHash};

use super::{error::ManagerError, settings::WaitingLimits};

/// For what too many requests wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// For this session.
    Session,
    /// For sessions of this user.
    User,
    /// For sessions of all users.
    All,
}

impl Waited {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Session => "for this session",
            Self::User => "for sessions of this user",
            Self::All => "for sessions of all users",
        }
    }
}

/// A start that several requests wait for.
pub(super) type SharedStart = Shared<BoxFuture<'static, Result<(), Arc<ManagerError>>>>;

/// The requests that wait for sessions, and the starts that are being recorded for them.
#[derive(Default)]
pub(super) struct Waiting {
    places: Mutex<Places>,
    starts: Mutex<HashMap<SessionHash, SharedStart>>,
}

#[derive(Default)]
struct Places {
    all: usize,
    of_user: HashMap<Identity, usize>,
    of_session: HashMap<SessionHash, usize>,
}

/// A start that is being recorded. Dropping it lets the next request start the session.
pub(super) struct PendingStart<'a> {
    waiting: &'a Waiting,
    hash: SessionHash,
}

impl<'a> PendingStart<'a> {
    pub(super) fn new(waiting: &'a Waiting, hash: SessionHash) -> Self {
        Self { waiting, hash }
    }
}

impl Drop for PendingStart<'_> {
    fn drop(&mut self) {
        self.waiting.starts.lock().remove(&self.hash);
    }
}

/// A place among the requests that wait. Dropping it frees it.
pub(super) struct Place<'a> {
    waiting: &'a Waiting,
    user: &'a Identity,
    hash: SessionHash,
}

impl Waiting {
    /// Takes a place, if there is one.
    pub(super) fn enter<'a>(
        &'a self,
        user: &'a Identity,
        hash: SessionHash,
        limits: &WaitingLimits,
    ) -> Result<Place<'a>, Waited> {
        let mut places = self.places.lock();
        let of_session = places.of_session.get(&hash).copied().unwrap_or_default();
        let of_user = places.of_user.get(user).copied().unwrap_or_default();
        let reached = [
            (of_session, limits.per_session, Waited::Session),
            (of_user, limits.per_user, Waited::User),
            (places.all, limits.total, Waited::All),
        ];
        if let Some((.., waited)) = reached.into_iter().find(|(count, max, _)| count >= max) {
            return Err(waited);
        }
        places.all += 1;
        *places.of_session.entry(hash).or_default() += 1;
        *places.of_user.entry(user.clone()).or_default() += 1;
        Ok(Place { waiting: self, user, hash })
    }

    /// Returns the session's start that is being recorded, or that of `begin`, which ends with the drop of
    /// its [`PendingStart`].
    pub(super) fn share_start(&self, hash: SessionHash, begin: impl FnOnce() -> SharedStart) -> SharedStart {
        self.starts.lock().entry(hash).or_insert_with(begin).clone()
    }

    /// Returns whether requests wait for this session.
    pub(super) fn awaits(&self, hash: SessionHash) -> bool {
        self.places.lock().of_session.contains_key(&hash)
    }

    /// Returns how many requests wait.
    pub(super) fn count(&self) -> usize {
        self.places.lock().all
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut places = self.waiting.places.lock();
        places.all -= 1;
        decrement(&mut places.of_session, self.hash);
        decrement(&mut places.of_user, self.user.clone());
    }
}

/// Counts one less, and drops a count of zero, so that memory is bounded by what waits.
fn decrement<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let hash_map::Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

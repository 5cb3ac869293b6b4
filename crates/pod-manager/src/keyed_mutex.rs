//! A mutex for each key.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// A mutex for each key, which exists only while it is held or waited for.
#[derive(Debug)]
pub(crate) struct KeyedMutex<K>(Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>);

impl<K> Default for KeyedMutex<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone> KeyedMutex<K> {
    /// Waits for the key's lock; waiters get it in their order.
    pub(crate) async fn lock(&self, key: K) -> OwnedMutexGuard<()> {
        let lock = self.mutex(key);
        lock.lock_owned().await
    }

    /// Returns the key's lock, or `None` if it is held.
    pub(crate) fn try_lock(&self, key: K) -> Option<OwnedMutexGuard<()>> {
        self.mutex(key).try_lock_owned().ok()
    }

    /// Returns the key's mutex, and drops those that are no longer used.
    fn mutex(&self, key: K) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock();
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        locks.entry(key).or_default().clone()
    }
}

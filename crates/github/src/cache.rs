//! What GitHub answered, per token, for a short time.

use std::{collections::HashMap, fmt, hash::Hash, sync::Arc};

use http::HeaderValue;
use parking_lot::Mutex;
use reqwest::Url;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// The digest of a token. `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(crate) fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(…)")
    }
}

/// A list that GitHub gave, page by page. Cheap to clone.
#[derive(Debug)]
pub struct Listing<T> {
    pages: Arc<[Page<T>]>,
    /// Whether the list ended at a limit of this client.
    pub truncated: bool,
    /// Whether GitHub left out what belongs to organizations whose single sign-on the token is not authorized
    /// for.
    pub partial: bool,
}

impl<T> Listing<T> {
    pub(crate) fn new(pages: Vec<Page<T>>, truncated: bool, partial: bool) -> Self {
        Self { pages: pages.into(), truncated, partial }
    }

    /// Returns the entries, in GitHub's order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flat_map(|page| page.items.iter())
    }

    pub(crate) fn pages(&self) -> &[Page<T>] {
        &self.pages
    }
}

impl<T> Clone for Listing<T> {
    fn clone(&self) -> Self {
        Self { pages: self.pages.clone(), truncated: self.truncated, partial: self.partial }
    }
}

/// One page, and what is needed to ask whether it is up to date.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) url: Url,
    pub(crate) etag: Option<HeaderValue>,
    pub(crate) next: Option<Url>,
    pub(crate) partial: bool,
    pub(crate) items: Arc<[T]>,
}

impl<T> Clone for Page<T> {
    fn clone(&self) -> Self {
        Self {
            url: self.url.clone(),
            etag: self.etag.clone(),
            next: self.next.clone(),
            partial: self.partial,
            items: self.items.clone(),
        }
    }
}

/// A listing and when GitHub confirmed it.
pub(crate) struct Cached<T> {
    pub(crate) listing: Listing<T>,
    pub(crate) confirmed: Instant,
}

/// The place of one listing. Whoever fetches it holds the lock, so that others wait for the same answer.
pub(crate) type Slot<T> = Arc<tokio::sync::Mutex<Option<Cached<T>>>>;

/// Listings by key, least recently used ones leave first.
pub(crate) struct Cache<K, T> {
    entries: Mutex<Entries<K, T>>,
    max_bytes: usize,
}

struct Entries<K, T> {
    by_key: HashMap<K, Entry<T>>,
    bytes: usize,
    uses: u64,
}

struct Entry<T> {
    slot: Slot<T>,
    last_use: u64,
    bytes: usize,
}

impl<K: Clone + Eq + Hash, T> Cache<K, T> {
    /// Bytes that an entry needs beside its listing.
    const ENTRY_BYTES: usize = 256;

    pub(crate) fn new(max_bytes: usize) -> Self {
        let entries = Entries { by_key: HashMap::new(), bytes: 0, uses: 0 };
        Self { entries: Mutex::new(entries), max_bytes }
    }

    /// Returns the place of a listing.
    pub(crate) fn slot(&self, key: &K) -> Slot<T> {
        let mut entries = self.entries.lock();
        entries.uses += 1;
        let last_use = entries.uses;
        if let Some(entry) = entries.by_key.get_mut(key) {
            entry.last_use = last_use;
            return entry.slot.clone();
        }
        let slot = Slot::default();
        let entry = Entry { slot: slot.clone(), last_use, bytes: Self::ENTRY_BYTES };
        entries.by_key.insert(key.clone(), entry);
        entries.bytes += Self::ENTRY_BYTES;
        entries.shrink(self.max_bytes);
        slot
    }

    /// Records the size of a listing, and makes room for it.
    pub(crate) fn resize(&self, key: &K, bytes: usize) {
        let mut entries = self.entries.lock();
        let bytes = Self::ENTRY_BYTES + bytes;
        let Some(entry) = entries.by_key.get_mut(key) else { return };
        let before = std::mem::replace(&mut entry.bytes, bytes);
        entries.bytes = entries.bytes - before + bytes;
        entries.shrink(self.max_bytes);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.lock().by_key.len()
    }
}

impl<K: Clone + Eq + Hash, T> Entries<K, T> {
    fn shrink(&mut self, max_bytes: usize) {
        if self.bytes <= max_bytes {
            return;
        }
        // Leaves room, so that not every new entry sorts all of them.
        let mut oldest: Vec<(u64, K)> =
            self.by_key.iter().map(|(key, entry)| (entry.last_use, key.clone())).collect();
        oldest.sort_unstable_by_key(|(last_use, _)| *last_use);
        for (_, key) in oldest {
            if self.bytes <= max_bytes / 4 * 3 {
                break;
            }
            if let Some(entry) = self.by_key.remove(&key) {
                self.bytes -= entry.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_remembered_by_its_digest_alone() {
        let digest = TokenDigest::of("ghp_secret");
        assert_eq!(format!("{digest:?}"), "TokenDigest(…)");
        assert_ne!(&digest.0[..10], b"ghp_secret");
        assert!(digest == TokenDigest::of("ghp_secret") && digest != TokenDigest::of("ghp_other"));
    }

    #[test]
    fn memory_is_bounded_and_the_least_recently_used_leaves_first() {
        let cache: Cache<u32, ()> = Cache::new(100_000);
        for key in 0..10_000 {
            cache.slot(&key);
            let first = cache.slot(&0);
            assert!(Arc::strong_count(&first) >= 2);
        }
        assert!(cache.len() <= 100_000 / 256, "{}", cache.len());
        let kept = cache.slot(&0);
        assert!(Arc::ptr_eq(&kept, &cache.slot(&0)));
        // A listing that alone is too large is not kept.
        cache.resize(&0, 1_000_000);
        assert!(!Arc::ptr_eq(&kept, &cache.slot(&0)));
    }
}

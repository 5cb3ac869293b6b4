//! How a backend is tested: what the promises need to know of it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use session_key::{GitRef, Identity, RepoPolicy, RepoUrl, SessionHash};

use crate::{
    backend::SessionBackend,
    model::{Session, Source},
};

/// A backend under test. Each promise gets a harness of its own, with an empty storage.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// Opens a backend on the harness's storage. It is called once, and then by
    /// [`restart`](Harness::restart).
    async fn open(&self) -> Arc<dyn SessionBackend>;

    /// Ends the backend as a router that ends does, and opens another one on the same storage.
    async fn restart(&self, backend: Arc<dyn SessionBackend>) -> Arc<dyn SessionBackend> {
        backend.shutdown().await;
        drop(backend);
        self.open().await
    }

    /// Returns a new session that can be started. Its times are whole milliseconds.
    async fn startable(&self) -> Session;

    /// Returns a new session whose start fails until it is [repaired](Harness::repair).
    async fn failing(&self) -> Session;

    /// Lets the [failing](Harness::failing) session start.
    async fn repair(&self, session: &Session);

    /// Returns how many processes use the session's storage now, counted from outside of the backend; `None`
    /// if they can't be counted.
    async fn processes(&self, hash: SessionHash) -> Option<usize>;

    /// Returns whether anything of the session is still stored, seen from outside of the backend.
    async fn stored(&self, hash: SessionHash) -> bool;

    /// Returns the user's secrets as their next start gets them, seen from outside of the backend.
    async fn secrets(&self, user: &Identity) -> BTreeMap<String, Vec<u8>>;

    /// Returns how long a promise waits for an event.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// Returns how many changes a watcher may leave unread before it must get a snapshot instead; `None` if
    /// a test can't make that many changes.
    fn unread_changes(&self) -> Option<usize> {
        None
    }
}

/// Returns a session of the repository at `url`, on a branch of its own; for harnesses.
///
/// # Panics
/// If `url` is not the address of a repository.
#[must_use]
pub fn session_of(url: &str, policy: RepoPolicy) -> Session {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let owner = Identity::parse("alice@example.com").expect("an address");
    let url = RepoUrl::parse(url, policy).expect("a repository");
    let branch = GitRef::parse(&format!("work/{count}")).expect("a branch");
    Session {
        hash: SessionHash::of(&owner, &url, &branch),
        owner,
        source: Source::Repository { url, branch, from: None },
        initial_message: Some(format!("Say \"hello\",\nthen: {count} – ümläut 🦀 $HOME `id`")),
        created_at: unix_time(1_790_000_000) + Duration::from_millis(count),
    }
}

/// Returns the time this many seconds after 1970 began.
pub(crate) fn unix_time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

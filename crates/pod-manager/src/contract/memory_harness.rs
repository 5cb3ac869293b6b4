//! Runs the promises against the backend in memory.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use parking_lot::Mutex;
use session_key::{Identity, RepoPolicy, SessionHash};

use super::harness::{Harness, session_of};
use crate::{
    backend::SessionBackend,
    clock::ManualClock,
    memory::{MemoryBackend, Restart, UNREAD_CHANGES},
    model::{Failure, FailureCode, Session},
};

/// The harness of [`MemoryBackend`].
pub struct MemoryHarness {
    backend: Mutex<Arc<MemoryBackend>>,
    restart: Restart,
}

impl MemoryHarness {
    /// Creates a harness whose processes end or continue at a restart.
    #[must_use]
    pub fn new(restart: Restart) -> Self {
        let clock = Arc::new(ManualClock::default());
        Self { backend: Mutex::new(MemoryBackend::new(clock)), restart }
    }

    fn backend(&self) -> Arc<MemoryBackend> {
        self.backend.lock().clone()
    }
}

#[async_trait]
impl Harness for MemoryHarness {
    async fn open(&self) -> Arc<dyn SessionBackend> {
        self.backend()
    }

    async fn restart(&self, backend: Arc<dyn SessionBackend>) -> Arc<dyn SessionBackend> {
        drop(backend);
        let next = self.backend().restart(self.restart);
        *self.backend.lock() = next.clone();
        next
    }

    async fn startable(&self) -> Session {
        session_of("https://git.example.com/acme/widgets", RepoPolicy::default())
    }

    async fn failing(&self) -> Session {
        let session = self.startable().await;
        let failure = Failure {
            code: FailureCode::RepositoryNotFound,
            message: "the remote knows no such repository".into(),
            advice: "check the address".into(),
            log_tail: Some("fatal: not found".into()),
        };
        self.backend().fail_starts(session.hash, Some(failure));
        session
    }

    async fn repair(&self, session: &Session) {
        self.backend().fail_starts(session.hash, None);
    }

    async fn processes(&self, hash: SessionHash) -> Option<usize> {
        Some(self.backend().processes(hash))
    }

    async fn stored(&self, hash: SessionHash) -> bool {
        self.backend().status(hash).is_some()
    }

    async fn secrets(&self, user: &Identity) -> BTreeMap<String, Vec<u8>> {
        self.backend().secrets(user)
    }

    fn unread_changes(&self) -> Option<usize> {
        Some(UNREAD_CHANGES)
    }
}

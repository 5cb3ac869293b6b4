use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use session_key::SessionHash;
use tokio::time::timeout;

use crate::{
    backend::{SessionBackend, WatchEvent},
    model::{Endpoint, Phase, SessionStatus},
};

/// Watches a backend for a test, and waits for things to be seen.
pub struct Eye {
    news: BoxStream<'static, WatchEvent>,
    seen: HashMap<SessionHash, Arc<SessionStatus>>,
    patience: Duration,
    /// Every observation so far, in order.
    pub history: Vec<WatchEvent>,
}

impl Eye {
    /// Opens it; nothing is read yet.
    #[must_use]
    pub fn on(backend: &dyn SessionBackend, patience: Duration) -> Self {
        Self { news: backend.watch(), seen: HashMap::new(), patience, history: Vec::new() }
    }

    /// Reads the next observation.
    ///
    /// # Panics
    /// Where none comes in time, or the stream ends.
    pub async fn read(&mut self) -> WatchEvent {
        let next = timeout(self.patience, self.news.next()).await;
        let Ok(Some(observation)) = next else {
            panic!("no further observation (in time: {}); seen: {:#?}", next.is_ok(), self.history);
        };
        match &observation {
            WatchEvent::Snapshot(all) => {
                self.seen = all.iter().map(|one| (one.session.hash, one.clone())).collect();
            }
            WatchEvent::Applied(one) => {
                self.seen.insert(one.session.hash, one.clone());
            }
            WatchEvent::Removed(hash) => {
                self.seen.remove(hash);
            }
        }
        self.history.push(observation.clone());
        observation
    }

    /// Reads until what is known of the session is as wanted, and gives it.
    ///
    /// # Panics
    /// Where it does not become so in time.
    pub async fn until(
        &mut self,
        hash: SessionHash,
        what: &str,
        wanted: impl Fn(&SessionStatus) -> bool,
    ) -> Arc<SessionStatus> {
        let all = timeout(self.patience, async {
            loop {
                if let Some(seen) = self.seen.get(&hash).filter(|seen| wanted(seen)) {
                    return seen.clone();
                }
                self.read().await;
            }
        });
        match all.await {
            Ok(seen) => seen,
            Err(_) => panic!("{hash} was not seen {what}; seen: {:#?}", self.history),
        }
    }

    /// Reads until the session runs.
    pub async fn running(&mut self, hash: SessionHash) -> Endpoint {
        let seen = self.until(hash, "running", |seen| matches!(seen.phase, Phase::Running(_))).await;
        let Phase::Running(endpoint) = &seen.phase else { unreachable!("just looked at") };
        endpoint.clone()
    }

    /// Reads until the session is stopped.
    pub async fn stopped(&mut self, hash: SessionHash) -> Arc<SessionStatus> {
        self.until(hash, "stopped", |seen| matches!(seen.phase, Phase::Stopped(_))).await
    }

    /// Reads until the session has failed.
    pub async fn failed(&mut self, hash: SessionHash) -> Arc<SessionStatus> {
        self.until(hash, "failed", |seen| matches!(seen.phase, Phase::Failed(_))).await
    }

    /// Reads until the session is gone, having been there (or never having been seen).
    ///
    /// # Panics
    /// Where it does not go in time.
    pub async fn gone(&mut self, hash: SessionHash) {
        let gone = timeout(self.patience, async {
            while self.history.is_empty() || self.seen.contains_key(&hash) {
                self.read().await;
            }
        });
        if gone.await.is_err() {
            panic!("{hash} did not go; seen: {:#?}", self.history);
        }
    }

    /// What is known of the session now.
    #[must_use]
    pub fn now(&self, hash: SessionHash) -> Option<&Arc<SessionStatus>> {
        self.seen.get(&hash)
    }

    /// The phases that this session was told in, one after the other, without repetition. `None`: gone.
    #[must_use]
    pub fn phases(&self, hash: SessionHash) -> Vec<Option<Phase>> {
        let mut phases = Vec::new();
        for observation in &self.history {
            let phase = match observation {
                WatchEvent::Applied(one) if one.session.hash == hash => Some(one.phase.clone()),
                WatchEvent::Removed(gone) if *gone == hash => None,
                WatchEvent::Snapshot(all) => match all.iter().find(|one| one.session.hash == hash) {
                    Some(one) => Some(one.phase.clone()),
                    None => continue,
                },
                _ => continue,
            };
            if phases.last() != Some(&phase) {
                phases.push(phase);
            }
        }
        phases
    }
}

//! Watches a backend for a test.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use session_key::SessionHash;
use tokio::time::timeout;

use crate::{
    backend::{SessionBackend, WatchEvent},
    model::{Endpoint, Phase, SessionStatus},
};

/// A watcher of a backend, which waits for statuses and remembers every event.
pub struct WatchProbe {
    events: BoxStream<'static, WatchEvent>,
    statuses: HashMap<SessionHash, Arc<SessionStatus>>,
    timeout: Duration,
    /// Every event so far, in order.
    pub history: Vec<WatchEvent>,
}

impl WatchProbe {
    /// Starts to watch; every wait ends after `timeout`. No event is read yet.
    #[must_use]
    pub fn new(backend: &dyn SessionBackend, timeout: Duration) -> Self {
        Self { events: backend.watch(), statuses: HashMap::new(), timeout, history: Vec::new() }
    }

    /// Reads the next event.
    ///
    /// # Panics
    /// If none comes in time, or the stream ends.
    pub async fn next(&mut self) -> WatchEvent {
        let next = timeout(self.timeout, self.events.next()).await;
        let Ok(Some(event)) = next else {
            let reason = if next.is_ok() { "the stream ended" } else { "no event in time" };
            panic!("{reason}; events so far: {:#?}", self.history);
        };
        match &event {
            WatchEvent::Snapshot(all) => {
                self.statuses = all.iter().map(|status| (status.session.hash, status.clone())).collect();
            }
            WatchEvent::Applied(status) => {
                self.statuses.insert(status.session.hash, status.clone());
            }
            WatchEvent::Removed(hash) => {
                self.statuses.remove(hash);
            }
        }
        self.history.push(event.clone());
        event
    }

    /// Reads events until the session's status fulfils `condition`, and returns that status. `what` describes
    /// the condition.
    ///
    /// # Panics
    /// If the condition is not fulfilled in time.
    pub async fn wait_for(
        &mut self,
        hash: SessionHash,
        what: &str,
        condition: impl Fn(&SessionStatus) -> bool,
    ) -> Arc<SessionStatus> {
        let wait = timeout(self.timeout, async {
            loop {
                if let Some(status) = self.statuses.get(&hash).filter(|status| condition(status)) {
                    return status.clone();
                }
                self.next().await;
            }
        });
        match wait.await {
            Ok(status) => status,
            Err(_) => panic!("{hash} was not {what} in time; events: {:#?}", self.history),
        }
    }

    /// Reads events until the session runs.
    pub async fn wait_running(&mut self, hash: SessionHash) -> Endpoint {
        let status = self.wait_for(hash, "running", |status| matches!(status.phase, Phase::Running(_))).await;
        let Phase::Running(endpoint) = &status.phase else { unreachable!("checked above") };
        endpoint.clone()
    }

    /// Reads events until the session is stopped.
    pub async fn wait_stopped(&mut self, hash: SessionHash) -> Arc<SessionStatus> {
        self.wait_for(hash, "stopped", |status| matches!(status.phase, Phase::Stopped(_))).await
    }

    /// Reads events until the session has failed.
    pub async fn wait_failed(&mut self, hash: SessionHash) -> Arc<SessionStatus> {
        self.wait_for(hash, "failed", |status| matches!(status.phase, Phase::Failed(_))).await
    }

    /// Reads events until there is no such session. A session that was never reported counts as removed.
    ///
    /// # Panics
    /// If the session is not removed in time.
    pub async fn wait_removed(&mut self, hash: SessionHash) {
        let wait = timeout(self.timeout, async {
            while self.history.is_empty() || self.statuses.contains_key(&hash) {
                self.next().await;
            }
        });
        if wait.await.is_err() {
            panic!("{hash} was not removed in time; events: {:#?}", self.history);
        }
    }

    /// Returns the session's status after the events read so far.
    #[must_use]
    pub fn status(&self, hash: SessionHash) -> Option<&Arc<SessionStatus>> {
        self.statuses.get(&hash)
    }

    /// Returns the phases that were reported of the session, in order and without repetition; `None` stands
    /// for its removal.
    #[must_use]
    pub fn phases(&self, hash: SessionHash) -> Vec<Option<Phase>> {
        let mut phases = Vec::new();
        for event in &self.history {
            let phase = match event {
                WatchEvent::Applied(status) if status.session.hash == hash => Some(status.phase.clone()),
                WatchEvent::Removed(removed) if *removed == hash => None,
                WatchEvent::Snapshot(all) => match all.iter().find(|status| status.session.hash == hash) {
                    Some(status) => Some(status.phase.clone()),
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

//! Publishes the statuses of sessions to any number of watchers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use session_key::SessionHash;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::{backend::WatchEvent, model::SessionStatus};

/// How many changes a watcher may leave unread before it gets a new snapshot instead.
pub const UNREAD_CHANGES: usize = 256;

/// The present status of every session, and the channel to its watchers.
pub(crate) struct Publisher {
    statuses: Mutex<BTreeMap<SessionHash, Arc<SessionStatus>>>,
    events: broadcast::Sender<WatchEvent>,
    ended: CancellationToken,
}

impl Publisher {
    /// Creates a publisher without sessions.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            statuses: Mutex::default(),
            events: broadcast::Sender::new(UNREAD_CHANGES),
            ended: CancellationToken::new(),
        })
    }

    /// Returns a session's present status.
    pub(crate) fn get(&self, hash: SessionHash) -> Option<Arc<SessionStatus>> {
        self.statuses.lock().get(&hash).cloned()
    }

    /// Publishes the status of a session that is new or has changed.
    pub(crate) fn publish(&self, status: &SessionStatus) {
        let status = Arc::new(status.clone());
        let mut statuses = self.statuses.lock();
        statuses.insert(status.session.hash, status.clone());
        // Sent under the lock, so that watchers get the changes in their order. Having no receiver is not an
        // error.
        let _ = self.events.send(WatchEvent::Applied(status));
    }

    /// Publishes that a session was removed.
    pub(crate) fn remove(&self, hash: SessionHash) {
        let mut statuses = self.statuses.lock();
        if statuses.remove(&hash).is_some() {
            let _ = self.events.send(WatchEvent::Removed(hash));
        }
    }

    /// Ends every watcher's stream.
    pub(crate) fn end(&self) {
        self.ended.cancel();
    }

    /// Returns the events: a snapshot first, then every change.
    pub(crate) fn watch(self: &Arc<Self>) -> BoxStream<'static, WatchEvent> {
        let (publisher, ended) = (Arc::downgrade(self), self.ended.clone());
        stream::unfold(None, move |events| next(publisher.clone(), events))
            .take_until(ended.cancelled_owned())
            .boxed()
    }
}

/// Returns a watcher's next event: a snapshot at first and after it fell behind, otherwise the next change.
/// Subscribing and copying happen under one lock, so that no change is lost between them.
async fn next(
    publisher: Weak<Publisher>,
    events: Option<broadcast::Receiver<WatchEvent>>,
) -> Option<(WatchEvent, Option<broadcast::Receiver<WatchEvent>>)> {
    if let Some(mut events) = events {
        match events.recv().await {
            Ok(change) => return Some((change, Some(events))),
            Err(broadcast::error::RecvError::Closed) => return None,
            Err(broadcast::error::RecvError::Lagged(_)) => {}
        }
    }
    let publisher = publisher.upgrade()?;
    let statuses = publisher.statuses.lock();
    let events = publisher.events.subscribe();
    let all = statuses.values().cloned().collect();
    Some((WatchEvent::Snapshot(all), Some(events)))
}

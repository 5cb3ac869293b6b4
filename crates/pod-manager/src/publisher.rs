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

/// What is seen of the sessions, and who watches.
pub(crate) struct Publisher {
    seen: Mutex<BTreeMap<SessionHash, Arc<SessionStatus>>>,
    news: broadcast::Sender<WatchEvent>,
    ended: CancellationToken,
}

impl Publisher {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            seen: Mutex::default(),
            news: broadcast::Sender::new(UNREAD_CHANGES),
            ended: CancellationToken::new(),
        })
    }

    pub(crate) fn get(&self, hash: SessionHash) -> Option<Arc<SessionStatus>> {
        self.seen.lock().get(&hash).cloned()
    }

    /// Tells of a session that is new or has changed.
    pub(crate) fn publish(&self, observed: &SessionStatus) {
        let observed = Arc::new(observed.clone());
        let mut seen = self.seen.lock();
        seen.insert(observed.session.hash, observed.clone());
        // Sent under the lock, so that watchers are told in the order of the changes. No receiver is no
        // error: nobody watches.
        let _ = self.news.send(WatchEvent::Applied(observed));
    }

    /// Tells that a session is gone.
    pub(crate) fn remove(&self, hash: SessionHash) {
        let mut seen = self.seen.lock();
        if seen.remove(&hash).is_some() {
            let _ = self.news.send(WatchEvent::Removed(hash));
        }
    }

    /// Ends every watcher's stream.
    pub(crate) fn end(&self) {
        self.ended.cancel();
    }

    pub(crate) fn watch(self: &Arc<Self>) -> BoxStream<'static, WatchEvent> {
        let (publisher, ended) = (Arc::downgrade(self), self.ended.clone());
        stream::unfold(None, move |news| next(publisher.clone(), news))
            .take_until(ended.cancelled_owned())
            .boxed()
    }
}

/// The next thing to tell a watcher: a snapshot at first and after it fell behind, else the next change.
/// Subscribing and copying happen under one lock, so that nothing falls between the two.
async fn next(
    publisher: Weak<Publisher>,
    news: Option<broadcast::Receiver<WatchEvent>>,
) -> Option<(WatchEvent, Option<broadcast::Receiver<WatchEvent>>)> {
    if let Some(mut news) = news {
        match news.recv().await {
            Ok(change) => return Some((change, Some(news))),
            Err(broadcast::error::RecvError::Closed) => return None,
            Err(broadcast::error::RecvError::Lagged(_)) => {}
        }
    }
    let publisher = publisher.upgrade()?;
    let seen = publisher.seen.lock();
    let news = publisher.news.subscribe();
    let all = seen.values().cloned().collect();
    Some((WatchEvent::Snapshot(all), Some(news)))
}

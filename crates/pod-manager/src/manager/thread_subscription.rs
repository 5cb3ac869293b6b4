//! [`ThreadSubscription`]: what a viewer of a session's messages holds.

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    entry::Entry,
    thread::{Seen, ThreadUpdate},
};

/// Follows the messages of one session's newest conversation. However slow the viewer is, nothing piles up:
/// each update is made of what is there when it is asked for.
pub struct ThreadSubscription {
    entry: Arc<Entry>,
    changes: watch::Receiver<()>,
    seen: Option<Seen>,
}

impl ThreadSubscription {
    pub(super) fn new(entry: Arc<Entry>) -> Self {
        let changes = entry.feed.subscribe();
        Self { entry, changes, seen: None }
    }

    /// Returns what is to be shown next, if anything: a snapshot at first.
    pub fn update(&mut self) -> Option<ThreadUpdate> {
        self.changes.borrow_and_update();
        let (update, seen) = self.entry.feed.read(|thread| thread.update_since(self.seen))?;
        self.seen = Some(seen);
        Some(update)
    }

    /// Waits for a change since the last [`update`](Self::update). Cancel safe.
    pub async fn changed(&mut self) {
        // The sender is in the entry, so it exists.
        let _ = self.changes.changed().await;
    }
}

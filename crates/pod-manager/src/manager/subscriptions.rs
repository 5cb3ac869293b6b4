//! Notifies those who wait for changes of one user's sessions.

use std::collections::HashMap;

use parking_lot::Mutex;
use session_key::Identity;
use tokio::sync::{Notify, watch};

/// Resolves whenever one of the user's sessions changed; read them again to see what changed.
///
/// Changes that happen while nobody waits are reported as one.
#[derive(Debug)]
pub struct Subscription(watch::Receiver<()>);

impl Subscription {
    /// Waits for a change since the last call, or since the subscription if this is the first one. Cancel
    /// safe. Never resolves after the manager was dropped.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// One channel for each user with subscribers. Channels without any are removed at the next subscription.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    channels: Mutex<HashMap<Identity, watch::Sender<()>>>,
    new_channel: Notify,
}

impl Subscriptions {
    pub(super) fn subscribe(&self, user: &Identity) -> Subscription {
        let mut channels = self.channels.lock();
        channels.retain(|_, channel| channel.receiver_count() > 0);
        let is_first = !channels.contains_key(user);
        let subscription = Subscription(channels.entry(user.clone()).or_default().subscribe());
        drop(channels);
        if is_first {
            self.new_channel.notify_waiters();
        }
        subscription
    }

    /// Waits for the user's first subscriber. Never resolves if the user has one already. Cancel safe.
    pub(super) async fn wait_first_subscriber(&self, user: &Identity) {
        if self.has_subscribers(user) {
            return std::future::pending().await;
        }
        loop {
            // Created before the check, so that a subscriber who comes in between is not missed.
            let new_channel = self.new_channel.notified();
            if self.has_subscribers(user) {
                return;
            }
            new_channel.await;
        }
    }

    pub(super) fn notify(&self, user: &Identity) {
        if let Some(channel) = self.channels.lock().get(user) {
            channel.send_replace(());
        }
    }

    pub(super) fn has_subscribers(&self, user: &Identity) -> bool {
        self.channels.lock().get(user).is_some_and(|channel| channel.receiver_count() > 0)
    }
}

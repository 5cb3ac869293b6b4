use std::collections::HashMap;

use parking_lot::Mutex;
use session_key::Identity;
use tokio::sync::{Notify, watch};

/// Tells when something of one user's sessions changed: what did is seen by looking again.
///
/// However many changes come while nobody waits, they are told as one.
#[derive(Debug)]
pub struct Changes(watch::Receiver<()>);

impl Changes {
    /// Waits for a change since the last call (at first: since this was made). Safe to drop half-way.
    /// Never resolves where there is no manager any more.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// One channel per user who is being waited for; those that nobody waits at go when another one comes.
#[derive(Debug, Default)]
pub(super) struct Hub {
    channels: Mutex<HashMap<Identity, watch::Sender<()>>>,
    arrivals: Notify,
}

impl Hub {
    pub(super) fn subscribe(&self, who: &Identity) -> Changes {
        let mut channels = self.channels.lock();
        channels.retain(|_, channel| channel.receiver_count() > 0);
        let is_first = !channels.contains_key(who);
        let changes = Changes(channels.entry(who.clone()).or_default().subscribe());
        drop(channels);
        if is_first {
            self.arrivals.notify_waiters();
        }
        changes
    }

    /// Waits until somebody waits for this user's changes where nobody did; for ever, where somebody does
    /// already. Safe to drop half-way.
    pub(super) async fn watching_begins(&self, who: &Identity) {
        if self.is_watched(who) {
            return std::future::pending().await;
        }
        loop {
            // Made before the look, so that who comes in between is not missed.
            let arrival = self.arrivals.notified();
            if self.is_watched(who) {
                return;
            }
            arrival.await;
        }
    }

    pub(super) fn tell(&self, who: &Identity) {
        if let Some(channel) = self.channels.lock().get(who) {
            channel.send_replace(());
        }
    }

    /// Whether somebody waits for this user's changes.
    pub(super) fn is_watched(&self, who: &Identity) -> bool {
        self.channels.lock().get(who).is_some_and(|channel| channel.receiver_count() > 0)
    }
}

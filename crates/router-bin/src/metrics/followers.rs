//! The metrics of the event streams that the router follows.

use pod_manager::Following;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use super::register::register;

/// The metrics of the followers.
#[derive(Debug)]
pub(super) struct FollowerMetrics {
    connected: Gauge,
    reconnects: Counter,
    events: Counter,
    lost: Counter,
}

impl FollowerMetrics {
    /// Registers the metrics, all zero.
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            connected: register(registry, "followers", "Event streams of sessions that are open"),
            reconnects: register(
                registry,
                "follower_reconnects",
                "Event streams of sessions that were opened again",
            ),
            events: register(registry, "followed_events", "Events that sessions sent"),
            lost: register(registry, "lost_events", "Events of sessions that were too large to be kept"),
        }
    }

    /// Sets the metrics to what the manager counted.
    pub(super) fn set(&self, following: &Following) {
        self.connected.set(i64::try_from(following.connected).unwrap_or(i64::MAX));
        for (counter, count) in [
            (&self.reconnects, following.reconnects),
            (&self.events, following.events),
            (&self.lost, following.lost),
        ] {
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }
}

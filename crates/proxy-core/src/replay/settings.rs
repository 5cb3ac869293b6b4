//! What the layer's parts agree on.

use std::time::Duration;

/// The longest id of an event, in bytes.
pub(super) const MAX_ID: usize = 256;

#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) retry: Option<Duration>,
    pub(super) max_event: usize,
    pub(super) max_lag: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { retry: None, max_event: 256 * 1024, max_lag: Duration::from_secs(5) }
    }
}

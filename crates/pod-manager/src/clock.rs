//! Wall time. It comes from one place, so that tests can set it.

use std::time::{Duration, SystemTime};

/// A source of wall time, for times that are recorded or compared. Timers use tokio's clock.
pub trait Clock: Send + Sync + 'static {
    /// Returns the present time.
    fn now(&self) -> SystemTime;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Returns how long ago `then` was; zero if the clock went backwards.
pub(crate) fn elapsed(now: SystemTime, then: SystemTime) -> Duration {
    now.duration_since(then).unwrap_or_default()
}

/// A clock that changes only when a test sets it.
#[cfg(feature = "test-util")]
#[derive(Debug)]
pub struct ManualClock(parking_lot::Mutex<SystemTime>);

#[cfg(feature = "test-util")]
impl ManualClock {
    /// Creates a clock at this time.
    #[must_use]
    pub fn at(now: SystemTime) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self(parking_lot::Mutex::new(now)))
    }

    /// Advances the clock.
    pub fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }

    /// Sets the clock, also backwards.
    pub fn set(&self, now: SystemTime) {
        *self.0.lock() = now;
    }
}

#[cfg(feature = "test-util")]
impl Default for ManualClock {
    /// Starts in 2026, at a whole second.
    fn default() -> Self {
        Self(parking_lot::Mutex::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)))
    }
}

#[cfg(feature = "test-util")]
impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        *self.0.lock()
    }
}

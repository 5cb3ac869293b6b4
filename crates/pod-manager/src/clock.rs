//! Wall time, from one place, so that tests can move it.

use std::time::{Duration, SystemTime};

/// Tells the wall time. Timers are tokio's; this is for instants that are kept or compared.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> SystemTime;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Returns how long ago `then` was; zero if the clock went backwards.
pub(crate) fn elapsed(now: SystemTime, then: SystemTime) -> Duration {
    now.duration_since(then).unwrap_or_default()
}

/// A clock that stands still until it is told to go on.
#[cfg(feature = "test-util")]
#[derive(Debug)]
pub struct ManualClock(parking_lot::Mutex<SystemTime>);

#[cfg(feature = "test-util")]
impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: SystemTime) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self(parking_lot::Mutex::new(now)))
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }

    /// Sets it, backwards too.
    pub fn set(&self, now: SystemTime) {
        *self.0.lock() = now;
    }
}

#[cfg(feature = "test-util")]
impl Default for ManualClock {
    /// Some moment in 2026, at a whole second.
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

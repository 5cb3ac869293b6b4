//! Exponential back-off with jitter: the pauses between attempts of everything that is tried again.

use std::time::Duration;

use rand::RngExt;

/// A growing pause: each one is twice as long as the one before, up to a maximum, and varied at random.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    /// The next pause, before jitter.
    next: Duration,
}

impl Backoff {
    /// Creates a back-off whose pauses grow from `min` to `max`.
    #[must_use]
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min.min(max) }
    }

    /// Returns the next pause.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = delay.saturating_mul(2).min(self.max);
        jitter(delay)
    }

    /// Sleeps for the next pause.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next_delay()).await;
    }

    /// Starts again at the shortest pause, after an attempt that succeeded.
    pub fn reset(&mut self) {
        self.next = self.min.min(self.max);
    }
}

/// Returns the duration varied by up to 20 %, so that many waiters do not act at the same moment.
#[must_use]
pub fn jitter(duration: Duration) -> Duration {
    duration.mul_f64(rand::rng().random_range(0.8..1.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_about(delay: Duration, millis: u64) {
        let expected = Duration::from_millis(millis);
        assert!(
            delay >= expected.mul_f64(0.8) && delay < expected.mul_f64(1.2),
            "{delay:?}, not {expected:?}"
        );
    }

    #[test]
    fn pauses_double_up_to_the_maximum_and_start_again_after_a_reset() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(500));
        for millis in [100, 200, 400, 500, 500] {
            assert_about(backoff.next_delay(), millis);
        }
        backoff.reset();
        assert_about(backoff.next_delay(), 100);
    }

    #[test]
    fn a_maximum_below_the_minimum_holds() {
        let mut backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(30));
        assert_about(backoff.next_delay(), 30_000);
    }

    #[tokio::test(start_paused = true)]
    async fn wait_sleeps_for_the_pause() {
        let mut backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(10));
        let start = tokio::time::Instant::now();
        backoff.wait().await;
        assert_about(start.elapsed(), 10_000);
    }
}

//! How many calls Cloudflare may get: a tenth of what it allows.
//!
//! Cloudflare allows 1,200 calls in 5 minutes to all programs of an account's user. The budget is a bucket of
//! 40 calls that fills with 80 calls in 5 minutes, so that no 5 minutes see more than 120, and a session that
//! is created after a quiet while is published at once. A pass begins when the bucket has the calls of a
//! usual pass. It may take more: the debt delays the next one.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::cloudflare::CallObserver;

const CAPACITY: f64 = 40.0;
const PER_SECOND: f64 = 80.0 / 300.0;
/// The calls of a pass that changes something.
const PASS: f64 = 6.0;

/// The calls that may be made now.
#[derive(Debug)]
pub struct CallBudget(Mutex<(f64, Instant)>);

impl Default for CallBudget {
    fn default() -> Self {
        Self(Mutex::new((CAPACITY, Instant::now())))
    }
}

impl CallBudget {
    /// Waits until a pass may begin.
    pub async fn wait(&self) {
        loop {
            let missing = PASS - self.refill(0.0);
            if missing <= 0.0 {
                return;
            }
            sleep(Duration::from_secs_f64(missing / PER_SECOND)).await;
        }
    }

    /// Fills the bucket for the time that has passed, takes calls out, and returns what is left.
    fn refill(&self, taken: f64) -> f64 {
        let mut bucket = self.0.lock();
        let now = Instant::now();
        let filled = bucket.0 + now.duration_since(bucket.1).as_secs_f64() * PER_SECOND;
        *bucket = (filled.min(CAPACITY) - taken, now);
        bucket.0
    }
}

impl CallObserver for CallBudget {
    fn record(&self, _: &'static str, _: &str) {
        self.refill(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_five_minutes_see_more_than_a_tenth_of_what_cloudflare_allows() {
        let budget = CallBudget::default();
        let start = Instant::now();
        let mut calls = Vec::new();
        while start.elapsed() < Duration::from_secs(3600) {
            budget.wait().await;
            for _ in 0..5 {
                budget.record("list_records", "200");
                calls.push(start.elapsed());
            }
            sleep(Duration::from_millis(200)).await;
        }
        for (index, first) in calls.iter().enumerate() {
            let window = calls[index..].iter().take_while(|call| **call - *first < Duration::from_secs(300));
            assert!(window.count() <= 120, "from {first:?}");
        }
        assert!(calls.len() > 900, "{} calls in an hour", calls.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_after_a_quiet_while_begins_at_once() {
        let budget = CallBudget::default();
        (0..200).for_each(|_| budget.record("create_record", "200"));
        let start = Instant::now();
        budget.wait().await;
        assert!(start.elapsed() > Duration::from_secs(600), "a debt is paid: {:?}", start.elapsed());
        sleep(Duration::from_secs(300)).await;
        let start = Instant::now();
        budget.wait().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}

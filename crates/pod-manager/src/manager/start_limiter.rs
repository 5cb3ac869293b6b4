//! Limits how often each user starts sessions: a token bucket for each user.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use session_key::Identity;
use tokio::time::Instant;

/// How long an empty bucket takes to fill.
const REFILL_TIME: Duration = Duration::from_secs(60);

/// Each bucket holds as many tokens as starts are allowed per minute, and refills evenly.
#[derive(Debug)]
pub(super) struct StartLimiter {
    max_per_minute: Option<u32>,
    /// When each user's bucket is full again. A full bucket is not stored, so that memory is bounded by the
    /// starts of the last minute.
    full_at: Mutex<HashMap<Identity, Instant>>,
}

/// The user's bucket is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooManyStarts {
    pub(super) max_per_minute: u32,
    /// When the next token is available.
    pub(super) retry_after: Duration,
}

impl StartLimiter {
    /// Creates the limiter; `None` limits nobody.
    pub(super) fn new(max_per_minute: Option<u32>) -> Self {
        Self { max_per_minute, full_at: Mutex::default() }
    }

    /// Returns whether there is a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.max_per_minute.is_some()
    }

    /// Takes a token of the user's bucket.
    pub(super) fn take(&self, user: &Identity) -> Result<(), TooManyStarts> {
        let Some(max_per_minute) = self.max_per_minute else { return Ok(()) };
        let now = Instant::now();
        let mut full_at = self.full_at.lock();
        full_at.retain(|_, full_at| *full_at > now);
        let missing = full_at.get(user).map_or(Duration::ZERO, |full_at| *full_at - now);
        let after = missing + REFILL_TIME / max_per_minute;
        match after.checked_sub(REFILL_TIME) {
            Some(retry_after) if !retry_after.is_zero() => Err(TooManyStarts { max_per_minute, retry_after }),
            _ => {
                full_at.insert(user.clone(), now + after);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_TOKEN: Duration = Duration::from_secs(6);

    fn user(name: &str) -> Identity {
        Identity::parse(&format!("{name}@example.com")).unwrap()
    }

    /// A limiter of 10 starts per minute, and a user who has used all of them.
    fn exhausted() -> (StartLimiter, Identity) {
        let (limiter, user) = (StartLimiter::new(Some(10)), user("alice"));
        for _ in 0..10 {
            assert_eq!(limiter.take(&user), Ok(()));
        }
        (limiter, user)
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_bucket_names_the_time_until_its_next_token() {
        let (limiter, alice) = exhausted();
        for (passed, retry_after) in [(0, 6), (2, 4), (3, 1)] {
            tokio::time::advance(Duration::from_secs(passed)).await;
            let retry_after = Duration::from_secs(retry_after);
            assert_eq!(limiter.take(&alice), Err(TooManyStarts { max_per_minute: 10, retry_after }));
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(limiter.take(&alice), Ok(()));
        assert!(limiter.take(&alice).is_err(), "there was one token");
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_refills_evenly_and_holds_no_more_than_its_limit() {
        let (limiter, alice) = exhausted();
        tokio::time::advance(3 * ONE_TOKEN).await;
        for _ in 0..3 {
            assert_eq!(limiter.take(&alice), Ok(()));
        }
        assert!(limiter.take(&alice).is_err());
        tokio::time::advance(100 * ONE_TOKEN).await;
        for _ in 0..10 {
            assert_eq!(limiter.take(&alice), Ok(()));
        }
        assert!(limiter.take(&alice).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn users_have_buckets_of_their_own() {
        let (limiter, alice) = exhausted();
        assert_eq!(limiter.take(&user("bob")), Ok(()));
        assert!(limiter.take(&alice).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn full_buckets_take_no_memory() {
        let limiter = StartLimiter::new(Some(10));
        for number in 0..1_000 {
            assert_eq!(limiter.take(&user(&format!("user-{number}"))), Ok(()));
        }
        assert_eq!(limiter.full_at.lock().len(), 1_000);
        tokio::time::advance(ONE_TOKEN).await;
        assert_eq!(limiter.take(&user("alice")), Ok(()));
        assert_eq!(limiter.full_at.lock().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_refuses_nobody_and_stores_nothing() {
        let limiter = StartLimiter::new(None);
        for _ in 0..100 {
            assert_eq!(limiter.take(&user("alice")), Ok(()));
        }
        assert!(limiter.full_at.lock().is_empty());
    }
}

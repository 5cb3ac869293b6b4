//! Remembers GitHub's refusals, so that a token that it refuses is not sent again and again.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use crate::{cache::TokenDigest, error::GithubError};

/// GitHub blocks addresses that send invalid tokens often.
const AFTER_UNAUTHORIZED: Duration = Duration::from_secs(30);
/// While GitHub is unreachable, at most one user's request waits for it every few seconds.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
const MAX_TOKENS: usize = 10_000;

/// Until when each token is refused, and why.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<HashMap<TokenDigest, (Instant, GithubError)>>);

impl Refusals {
    /// Returns an error if GitHub would refuse the token, or can't be reached anyway.
    pub(crate) fn check(&self, token: &TokenDigest) -> Result<(), GithubError> {
        let refusals = self.0.lock();
        let Some((until, error)) = refusals.get(token) else { return Ok(()) };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        Err(match error {
            GithubError::RateLimited { .. } => GithubError::RateLimited { retry_after: left },
            error => error.clone(),
        })
    }

    /// Remembers an error if it concerns the next request as well.
    pub(crate) fn remember(&self, token: &TokenDigest, error: &GithubError) {
        let duration = match error {
            GithubError::RateLimited { retry_after } => *retry_after,
            GithubError::Unauthorized => AFTER_UNAUTHORIZED,
            GithubError::Unavailable { .. } | GithubError::Unreachable(_) => AFTER_FAILURE,
            _ => return,
        };
        self.remember_for(token, error, duration);
    }

    /// Remembers an error for some time.
    pub(crate) fn remember_for(&self, token: &TokenDigest, error: &GithubError, duration: Duration) {
        let now = Instant::now();
        let mut refusals = self.0.lock();
        if refusals.len() >= MAX_TOKENS {
            refusals.retain(|_, (until, _)| *until > now);
        }
        if refusals.len() < MAX_TOKENS {
            refusals.insert(*token, (now + duration, error.clone()));
        }
    }
}

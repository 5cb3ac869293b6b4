//! Why Cloudflare was not reconciled.

use std::time::Duration;

use thiserror::Error;

/// Why a pass failed. Every error leads to another attempt.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CloudflareError {
    /// No connection, or no complete answer.
    #[error("Cloudflare's API can't be reached: {0}")]
    Unreachable(String),
}

impl CloudflareError {
    /// Returns a stable word for metrics and conditions: `unreachable`, `rate_limited`, `unauthorized`, …
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
        }
    }

    /// Returns how long to wait before the next call, if Cloudflare said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        None
    }
}

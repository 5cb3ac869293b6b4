//! The secret of pipelines and operators, which takes the place of a sign-in.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use super::error::ErrorResponse;

/// The header with the secret.
pub(super) const HEADER: &str = "x-admin-secret";
/// How many requests are answered per minute, right or wrong.
const MAX_REQUESTS_PER_MINUTE: u32 = 60;

/// Checks requests that carry `X-Admin-Secret`.
pub(super) struct AdminSecret {
    /// Without a secret, its routes are off.
    secret: Option<String>,
    /// The requests of the current minute, and when it began.
    requests: Mutex<(Instant, u32)>,
}

impl AdminSecret {
    pub(super) fn new(secret: Option<String>) -> Self {
        Self { secret, requests: Mutex::new((Instant::now(), 0)) }
    }

    /// Checks the rate and the secret.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), ErrorResponse> {
        let Some(secret) = &self.secret else {
            let text = "Admin endpoint not configured: set ADMIN_SECRET.";
            return Err(ErrorResponse::new(StatusCode::NOT_IMPLEMENTED, "not_configured", text));
        };
        {
            let mut requests = self.requests.lock();
            if requests.0.elapsed() >= Duration::from_secs(60) {
                *requests = (Instant::now(), 0);
            }
            requests.1 += 1;
            if requests.1 > MAX_REQUESTS_PER_MINUTE {
                let text = "Too many requests to this address. Try again in a minute.";
                return Err(ErrorResponse::new(StatusCode::TOO_MANY_REQUESTS, "limit_reached", text)
                    .with_retry_after(60));
            }
        }
        let mut given = headers.get_all(HEADER).iter();
        let only = given.next().filter(|_| given.next().is_none());
        let matches = only.is_some_and(|value| value.as_bytes().ct_eq(secret.as_bytes()).into());
        if matches {
            return Ok(());
        }
        let text = "The header X-Admin-Secret is missing or wrong.";
        Err(ErrorResponse::new(StatusCode::FORBIDDEN, "forbidden", text))
    }
}

//! Waits until a session's opencode is ready to serve.
//!
//! An open port is not readiness: opencode 1.18 opens its port about 0.2 s before it serves, and never
//! answers a request that arrives in between. So a request may hang while opencode is ready already, and has
//! to be given up soon; yet a busy opencode may need a second for its answer.
//!
//! There is one request at a time, each on a new connection, so that a session can't make a router hold many
//! connections and bodies. Its timeout starts at 100 ms (a ready opencode answers in 10 to 25 ms), and grows
//! by a quarter whenever it passes. The sum of all timeouts so far is then four times what the timeout has
//! grown: if requests hang for a time W, the timeout at the end of W is 100 ms + W/4 at most. Readiness is
//! seen half of that late on average (75 ms for W = 0.2 s), and an opencode that needs the time L for an
//! answer is seen within 5 L. A connection that is refused belongs to a process that still starts, so the
//! timeout is short again after it.

use std::{net::SocketAddr, time::Duration};

use reqwest::{Method, StatusCode};
use tokio::time::sleep;

use super::http::{self, HttpClient, Limits, OpencodeError};
use crate::model::Password;

const PATH: &str = "/global/health";
/// The largest answer that is read; opencode's has about 40 bytes.
const MAX_BYTES: usize = 4 * 1024;
/// The timeout of the first request.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);
/// The longest timeout of a request.
const MAX_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause after a request that failed before its timeout.
const PAUSE: Duration = Duration::from_millis(40);

/// Asks one opencode whether it is ready, until it is.
///
/// It may be interrupted at any time, and continues with the timeout that it had reached.
#[derive(Debug)]
pub(crate) struct HealthCheck<'a> {
    http: &'a HttpClient,
    address: SocketAddr,
    password: Option<&'a Password>,
    timeout: Duration,
}

impl<'a> HealthCheck<'a> {
    /// Creates a check of the opencode at this address. With a password, opencode has to ask for it.
    pub(crate) fn new(http: &'a HttpClient, address: SocketAddr, password: Option<&'a Password>) -> Self {
        Self { http, address, password, timeout: MIN_TIMEOUT }
    }

    /// Returns once opencode is ready, and refuses requests without the password.
    pub(crate) async fn wait_healthy(&mut self) {
        while let Err(error) = self.check().await {
            match error {
                OpencodeError::Timeout => {
                    self.timeout = self.timeout.mul_f64(1.25).min(MAX_TIMEOUT);
                    continue;
                }
                OpencodeError::Unreachable(_) => self.timeout = MIN_TIMEOUT,
                OpencodeError::Status(_) | OpencodeError::TooLarge(_) | OpencodeError::Unexpected(_) => {}
            }
            sleep(PAUSE).await;
        }
    }

    async fn check(&self) -> Result<(), OpencodeError> {
        let limits = Limits { bytes: MAX_BYTES, time: self.timeout };
        let request = |password| self.http.request(Method::GET, self.address, PATH, password);
        let body = http::json(request(self.password), limits).await?;
        if body["healthy"] != true {
            return Err(OpencodeError::Unexpected("it is not healthy"));
        }
        // A server that answers everybody is not the opencode that was given the password.
        if self.password.is_some()
            && http::send(request(None), limits).await?.status() != StatusCode::UNAUTHORIZED
        {
            return Err(OpencodeError::Unexpected("it answers without the password"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;

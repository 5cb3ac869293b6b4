//! Waits until a session's opencode is ready to serve.
//!
//! An open port is not readiness: opencode 1.18 opens its port about 0.2 s before it serves, and never
//! answers a request that arrives in between. So a request may hang while opencode is ready already; yet a
//! busy opencode may need a second for its answer.
//!
//! So requests overlap: one every 25 ms, each on a new connection, and each given up after eight of these
//! intervals. The first answer counts, and is 13 ms late on average. Each request that hangs for too long
//! makes the interval 4 % longer: if requests hang for a time W, the interval is then 25 ms + W/25, and an
//! opencode that needs the time L for an answer is seen within 4 L. A connection that is refused belongs to a
//! process that still starts, so the interval is short again after it.
//!
//! Everything is bounded, since sessions may be hostile and may start by the hundred: the requests at once of
//! one session, and of all sessions together, and how many begin per second. Each session waits for the turn
//! of one request at a time, and the turns come in order: no session makes another one wait longer than its
//! share.

use std::{net::SocketAddr, pin::pin, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use reqwest::{Method, StatusCode};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep_until},
};

use super::http::{self, HttpClient, Limits, OpencodeError};
use crate::model::Password;

const PATH: &str = "/global/health";
/// The largest answer that is read; opencode's has about 40 bytes.
const MAX_BYTES: usize = 4 * 1024;
/// The shortest time from one request to the next.
const MIN_INTERVAL: Duration = Duration::from_millis(25);
/// The same after [`LONG_START`].
const MIN_INTERVAL_LATER: Duration = Duration::from_millis(100);
const LONG_START: Duration = Duration::from_secs(15);
/// The longest time from one request to the next.
const MAX_INTERVAL: Duration = Duration::from_secs(1);
/// How many requests to one opencode there are at once.
const MAX_REQUESTS: u32 = 8;
/// The longest timeout of a request.
const MAX_TIMEOUT: Duration = Duration::from_secs(2);
/// How many requests to all opencodes there are at once.
const MAX_CONCURRENT: usize = 256;
/// The time from one request to the next one to any opencode: 4,000 requests in a second.
const PACE: Duration = Duration::from_micros(250);

/// Creates health checks, and bounds what all of them do together.
#[derive(Debug)]
pub(crate) struct HealthChecks {
    http: HttpClient,
    permits: Semaphore,
    next_start: Mutex<Instant>,
}

/// Asks one opencode whether it is ready, until it is.
///
/// It may be interrupted at any time, and continues with the interval that it had reached.
#[derive(Debug)]
pub(crate) struct HealthCheck<'a> {
    shared: &'a HealthChecks,
    address: SocketAddr,
    password: Option<&'a Password>,
    started: Instant,
    interval: Duration,
    requests: usize,
}

impl HealthChecks {
    pub(crate) fn new() -> Self {
        Self {
            http: HttpClient::new(),
            permits: Semaphore::new(MAX_CONCURRENT),
            next_start: Mutex::new(Instant::now()),
        }
    }

    /// Creates a check of the opencode at this address. With a password, opencode has to ask for it.
    pub(crate) fn check<'a>(
        &'a self,
        address: SocketAddr,
        password: Option<&'a Password>,
    ) -> HealthCheck<'a> {
        let (started, interval) = (Instant::now(), MIN_INTERVAL);
        HealthCheck { shared: self, address, password, started, interval, requests: 0 }
    }

    /// Waits until this time, and then for the turn of one request.
    async fn turn(&self, not_before: Instant) -> Option<SemaphorePermit<'_>> {
        sleep_until(not_before).await;
        let permit = self.permits.acquire().await;
        let start = {
            let mut next_start = self.next_start.lock();
            let start = Instant::now().max(*next_start);
            *next_start = start + PACE;
            start
        };
        sleep_until(start).await;
        // The semaphore is never closed.
        permit.ok()
    }
}

impl HealthCheck<'_> {
    /// Returns once opencode is ready, and refuses requests without the password.
    pub(crate) async fn wait_healthy(&mut self) {
        loop {
            self.wait_answer().await;
            // A server that answers everybody is not the opencode that was given the password.
            if self.password.is_none() || self.refuses_strangers().await {
                return;
            }
            self.lengthen_interval();
            sleep_until(Instant::now() + self.interval).await;
        }
    }

    /// Returns how many requests have begun.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn requests(&self) -> usize {
        self.requests
    }

    /// Waits until opencode answers a request that it is healthy.
    async fn wait_answer(&mut self) {
        let shared = self.shared;
        let mut requests = FuturesUnordered::new();
        let mut turn = pin!(shared.turn(Instant::now()));
        loop {
            tokio::select! {
                biased;
                Some(answer) = requests.next() => match answer {
                    Ok(()) => return,
                    Err(OpencodeError::Unreachable(_)) => self.interval = self.min_interval(),
                    Err(_) => self.lengthen_interval(),
                },
                permit = &mut turn, if requests.len() < MAX_REQUESTS as usize => {
                    let request = self.ask();
                    requests.push(async move {
                        let _permit = permit;
                        request.await
                    });
                    self.requests += 1;
                    turn.set(shared.turn(Instant::now() + self.interval));
                }
            }
        }
    }

    /// Asks opencode once whether it is healthy.
    fn ask(&self) -> impl Future<Output = Result<(), OpencodeError>> + Send + use<> {
        let request = self.shared.http.request(Method::GET, self.address, PATH, self.password);
        let limits = self.limits();
        async move {
            let body = http::json(request, limits).await?;
            if body["healthy"] == true { Ok(()) } else { Err(OpencodeError::Unexpected("it is not healthy")) }
        }
    }

    async fn refuses_strangers(&self) -> bool {
        let request = self.shared.http.request(Method::GET, self.address, PATH, None);
        let answer = http::send(request, self.limits()).await;
        answer.is_ok_and(|answer| answer.status() == StatusCode::UNAUTHORIZED)
    }

    fn limits(&self) -> Limits {
        Limits { bytes: MAX_BYTES, time: (MAX_REQUESTS * self.interval).min(MAX_TIMEOUT) }
    }

    fn min_interval(&self) -> Duration {
        if self.started.elapsed() < LONG_START { MIN_INTERVAL } else { MIN_INTERVAL_LATER }
    }

    fn lengthen_interval(&mut self) {
        self.interval = self.interval.mul_f64(1.04).clamp(self.min_interval(), MAX_INTERVAL);
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;

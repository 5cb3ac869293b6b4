//! The counts of requests.
//!
//! A counter that all cores add to would be passed between their caches with each request. So each stack,
//! which serves on one core, has counts of its own, and a scrape adds them up.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use http::StatusCode;
use parking_lot::Mutex;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{
    labels::{CLASSES, Request, Route, RouteKind},
    register::register,
};

/// The metrics of all stacks' requests.
#[derive(Debug)]
pub(super) struct RequestMetrics {
    requests: [[Counter; CLASSES.len()]; RouteKind::ALL.len()],
    in_flight: [Gauge; RouteKind::ALL.len()],
    panics: Counter,
    counts: Mutex<Vec<Arc<RequestCounts>>>,
}

impl RequestMetrics {
    /// Registers the metrics, all zero.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let requests: Family<Request, Counter> =
            register(registry, "requests", "Requests answered, by route and status");
        let in_flight: Family<Route, Gauge> = register(
            registry,
            "requests_in_flight",
            "Requests whose response is not complete; tunnels count until their handshake",
        );
        Self {
            requests: RouteKind::ALL.map(|kind| {
                CLASSES.map(|status| requests.get_or_create_owned(&Request { route: kind.as_str(), status }))
            }),
            in_flight: RouteKind::ALL
                .map(|kind| in_flight.get_or_create_owned(&Route { route: kind.as_str() })),
            panics: register(registry, "panics", "Requests whose handler panicked"),
            counts: Mutex::default(),
        }
    }

    /// Returns new counts, which count from now on.
    pub(super) fn add_counts(&self) -> Arc<RequestCounts> {
        let counts = Arc::new(RequestCounts::default());
        self.counts.lock().push(counts.clone());
        counts
    }

    /// Sets the metrics to what was counted.
    pub(super) fn update(&self) {
        let all = self.counts.lock();
        let raise = |counter: &Counter, count: &dyn Fn(&RequestCounts) -> &AtomicU64| {
            let sum: u64 = all.iter().map(|counts| count(counts).load(Ordering::Relaxed)).sum();
            counter.inc_by(sum.saturating_sub(counter.get()));
        };
        for (kind, (requests, in_flight)) in self.requests.iter().zip(&self.in_flight).enumerate() {
            for (class, counter) in requests.iter().enumerate() {
                raise(counter, &|counts| &counts.answered[kind][class]);
            }
            in_flight.set(all.iter().map(|counts| counts.in_flight[kind].load(Ordering::Relaxed)).sum());
        }
        raise(&self.panics, &|counts| &counts.panics);
    }
}

/// The counts of one stack's requests. A request costs two additions and a subtraction.
#[derive(Debug, Default)]
#[repr(align(128))] // So that no other core writes to the same cache line, or to its neighbour.
pub struct RequestCounts {
    answered: [[AtomicU64; CLASSES.len()]; RouteKind::ALL.len()],
    in_flight: [AtomicI64; RouteKind::ALL.len()],
    panics: AtomicU64,
}

impl RequestCounts {
    /// Counts a request as in flight until the returned guard is dropped.
    pub fn start(self: &Arc<Self>, kind: RouteKind) -> InFlight {
        self.in_flight[kind as usize].fetch_add(1, Ordering::Relaxed);
        InFlight { counts: Arc::clone(self), kind }
    }

    /// Counts a response.
    pub fn record_response(&self, kind: RouteKind, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        self.answered[kind as usize][class].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a panic of a request handler.
    pub fn record_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }
}

/// A request in flight; dropping it ends the request.
#[derive(Debug)]
pub struct InFlight {
    pub(crate) counts: Arc<RequestCounts>,
    pub(crate) kind: RouteKind,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.counts.in_flight[self.kind as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn all_counts_are_added_up_at_each_scrape() {
        let metrics = Metrics::new(UNIX_EPOCH);
        let counts = [metrics.request_counts(), metrics.request_counts()];
        let open: Vec<_> = counts.iter().map(|counts| counts.start(RouteKind::Session)).collect();
        for scrape in 1..3 {
            for counts in &counts {
                counts.record_response(RouteKind::Session, StatusCode::OK);
            }
            let text = metrics.render([], true, 0).expect("text");
            let expected = format!("requests_total{{route=\"session\",status=\"2xx\"}} {}\n", 2 * scrape);
            assert!(text.contains(&expected), "{text}");
            assert!(text.contains("requests_in_flight{route=\"session\"} 2\n"), "{text}");
        }
        drop(open);
        let text = metrics.render([], true, 0).expect("text");
        assert!(text.contains("requests_in_flight{route=\"session\"} 0\n"), "{text}");
    }
}

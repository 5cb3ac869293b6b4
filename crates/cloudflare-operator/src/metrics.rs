//! The metrics, as OpenMetrics text.

use std::{fmt, time::SystemTime};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::{Metric, Registry},
};

use crate::{
    cloudflare::CallObserver,
    status::{Half, HalfStatus},
};

/// The operator's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    cloudflare_calls: Family<Call, Counter>,
    kubernetes_calls: Family<Call, Counter>,
    passes: Family<Pass, Counter>,
    counts: Family<Kind, Gauge>,
    skipped_claims: Gauge,
    conflicts: Family<HalfLabel, Gauge>,
    failing: Family<HalfLabel, Gauge>,
    backoff: Family<HalfLabel, Gauge>,
    last_success: Family<HalfLabel, Gauge>,
    leader: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    call: &'static str,
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pass {
    half: &'static str,
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HalfLabel {
    half: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// What there is: the values of the label `kind` of `objects`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Sessions.
    Sessions,
    /// IngressRoutes that should exist.
    Routes,
    /// Hosts that should have a record and a rule.
    Hosts,
    /// DNS records of ours.
    Records,
    /// Tunnel rules of ours.
    Rules,
}

impl Counted {
    fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Routes => "routes",
            Self::Hosts => "hosts",
            Self::Records => "records",
            Self::Rules => "rules",
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut root = Registry::default();
        let registry = root.sub_registry_with_prefix("opencode_cloudflare_operator");
        let cloudflare_calls = register(
            registry,
            "cloudflare_calls",
            "Calls of Cloudflare's API, by kind and outcome (an HTTP status, timeout or unreachable)",
        );
        let kubernetes_calls = register(
            registry,
            "kubernetes_calls",
            "Writes to the API server, by kind and outcome (an HTTP status, timeout or unreachable)",
        );
        let passes = register(
            registry,
            "passes",
            "Reconciliations of each half (kubernetes, cloudflare), by outcome (ok, or the reason of a failure)",
        );
        let counts = register(
            registry,
            "objects",
            "Sessions, and what is published for them, by kind: sessions, routes, hosts, records, rules",
        );
        let skipped_claims = register(
            registry,
            "skipped_claims",
            "Claims with the sessions' label that publish nothing, because name and label disagree",
        );
        let conflicts = register(
            registry,
            "conflicts",
            "What is not as desired because it belongs to somebody else, by half",
        );
        let failing = register(registry, "failing", "1 while the last reconciliation of a half failed");
        let backoff = register(registry, "backoff_seconds", "The present pause after failures, by half");
        let last_success = register(
            registry,
            "last_success_timestamp_seconds",
            "When a reconciliation of a half last succeeded, in seconds since 1970; 0: never",
        );
        let leader = register(registry, "leader", "1 if this process writes; the others wait");
        registry.register(
            "build",
            "The operator's version",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self {
            registry: root,
            cloudflare_calls,
            kubernetes_calls,
            passes,
            counts,
            skipped_claims,
            conflicts,
            failing,
            backoff,
            last_success,
            leader,
        }
    }
}

impl Metrics {
    /// Counts a write to the API server.
    pub fn record_kubernetes_call(&self, call: &'static str, outcome: &str) {
        self.kubernetes_calls.get_or_create_owned(&Call { call, outcome: outcome.to_owned() }).inc();
    }

    /// Counts a reconciliation. The outcome is `ok`, or the reason of a failure.
    pub fn record_pass(&self, half: Half, outcome: &str) {
        self.passes.get_or_create_owned(&Pass { half: half.as_str(), outcome: outcome.to_owned() }).inc();
    }

    /// Sets how many there are of a kind.
    pub fn set_count(&self, kind: Counted, count: usize) {
        self.counts.get_or_create_owned(&Kind { kind: kind.as_str() }).set(to_gauge(count));
    }

    /// Renders the metrics as OpenMetrics text. The arguments are what somebody else keeps.
    ///
    /// # Errors
    /// None in practice: writing to a `String` does not fail.
    pub fn render(
        &self,
        halves: &[(Half, HalfStatus)],
        skipped: usize,
        is_leader: bool,
    ) -> Result<String, fmt::Error> {
        for (half, status) in halves {
            let label = HalfLabel { half: half.as_str() };
            let set = |family: &Family<HalfLabel, Gauge>, value: i64| {
                family.get_or_create_owned(&label).set(value);
            };
            set(&self.conflicts, to_gauge(status.conflicts.len()));
            set(&self.failing, i64::from(status.is_failing()));
            set(&self.backoff, i64::try_from(status.backoff.as_secs()).unwrap_or(i64::MAX));
            let since_epoch = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
            let last_success = status.last_success.and_then(since_epoch).unwrap_or_default().as_secs();
            set(&self.last_success, i64::try_from(last_success).unwrap_or(i64::MAX));
        }
        self.skipped_claims.set(to_gauge(skipped));
        self.leader.set(i64::from(is_leader));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl CallObserver for Metrics {
    fn record(&self, call: &'static str, outcome: &str) {
        self.cloudflare_calls.get_or_create_owned(&Call { call, outcome: outcome.to_owned() }).inc();
    }
}

/// Registers a metric that is zero.
fn register<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

fn to_gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

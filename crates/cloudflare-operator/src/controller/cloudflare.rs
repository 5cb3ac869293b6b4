//! A pass over records and tunnel.

use std::{collections::BTreeSet, sync::Arc};

use tokio::{sync::watch, time::Instant};

use super::{
    Context, Failure,
    drive::{Pace, Reconcile},
};
use crate::{
    cloudflare::{CloudflareError, CloudflareSettings, CloudflareSync, Plan},
    metrics::Counted,
    routes::published_hosts,
    status::Half,
};

/// The records and the tunnel's rules.
pub struct Cloudflare {
    context: Arc<Context>,
    sync: CloudflareSync,
    /// The hosts of the last pass that succeeded, and until when they need no other one.
    settled: Option<(BTreeSet<String>, Instant)>,
}

impl Cloudflare {
    /// Creates the half. It makes no call.
    ///
    /// # Errors
    /// The HTTP client can't be built.
    pub fn new(context: Arc<Context>, settings: CloudflareSettings) -> Result<Self, CloudflareError> {
        let sync = CloudflareSync::new(settings, context.metrics.clone())?;
        Ok(Self { context, sync, settled: None })
    }

    /// Returns the hosts that should have a record and a rule. `None` before the claims are known.
    #[must_use]
    pub fn hosts(&self) -> Option<BTreeSet<String>> {
        let claims = self.context.sessions()?;
        let hosts = published_hosts(&self.context.settings, &claims);
        self.context.metrics.set_count(Counted::Hosts, hosts.len());
        Some(hosts)
    }

    /// Compares what is desired with what is there. Writes nothing.
    ///
    /// # Errors
    /// [`CloudflareError`]
    pub async fn plan(&mut self, hosts: &BTreeSet<String>) -> Result<Plan, CloudflareError> {
        self.sync.plan(hosts).await
    }

    async fn pass(&mut self, hosts: &BTreeSet<String>) -> Result<(), CloudflareError> {
        let plan = self.sync.plan(hosts).await?;
        for action in &plan.actions {
            tracing::info!(%action, "Cloudflare");
        }
        let report = self.sync.apply(plan).await?;
        let conflicts = report.conflicts.iter().map(ToString::to_string).collect();
        let notes = report.notes.iter().map(ToString::to_string).collect();
        self.context.status.record_conflicts(Half::Cloudflare, conflicts);
        self.context.status.record_notes(Half::Cloudflare, notes);
        if report.overwritten > 0 {
            tracing::warn!(
                changes = report.overwritten,
                "the tunnel's configuration was changed by somebody else between read and write"
            );
        }
        self.context.metrics.set_count(Counted::Records, report.records);
        self.context.metrics.set_count(Counted::Rules, report.rules);
        Ok(())
    }
}

impl Reconcile for Cloudflare {
    const HALF: Half = Half::Cloudflare;

    async fn reconcile(&mut self) -> Result<bool, Failure> {
        let Some(hosts) = self.hosts() else { return Ok(false) };
        let is_settled =
            |(settled, until): &(BTreeSet<String>, Instant)| *settled == hosts && Instant::now() < *until;
        if self.settled.as_ref().is_some_and(is_settled) {
            return Ok(false);
        }
        self.settled = None;
        self.pass(&hosts).await.map_err(|error| Failure {
            reason: error.reason().into(),
            message: error.to_string(),
            retry_after: error.retry_after(),
            needs_operator: error.needs_operator(),
        })?;
        self.settled = Some((hosts, Instant::now() + Pace::CLOUDFLARE.resync / 2));
        Ok(true)
    }

    fn forget(&mut self) {
        self.settled = None;
    }

    fn changes(&self) -> Vec<watch::Receiver<u64>> {
        vec![self.context.claims.subscribe()]
    }
}

//! Leader election by a `coordination.k8s.io` Lease: one of several processes acts. One router stops idle
//! sessions and sends first prompts; one Cloudflare operator writes.
//!
//! The leader leads until its [`renew_deadline`] after it *started* the last successful renewal, by its own
//! monotonic clock. Another process takes the Lease only after it has *seen* the Lease unchanged for its
//! [`lease_duration`], by its own clock. The former is shorter, every write has the resource version as its
//! precondition, and no wall clocks are compared. So there is at most one leader at any time, however far the
//! clocks are apart and however late a request arrives. The times in the Lease are for people and for
//! `kubectl`.
//!
//! If somebody deletes the Lease, the leader creates it again at once, and another process only after it
//! would have expired. (A process that starts at that very moment has never seen a Lease, and creates one.)
//!
//! [`renew_deadline`]: super::settings::ElectionTiming::renew_deadline
//! [`lease_duration`]: super::settings::ElectionTiming::lease_duration

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    objects::names::MANAGED_BY,
    settings::{ElectionSettings, KubernetesSettings, LEASE_NAME},
};
use crate::clock::Clock;

impl KubernetesSettings {
    /// Returns the settings of the election that all routers of a namespace take part in.
    #[must_use]
    pub fn election(&self) -> ElectionSettings {
        ElectionSettings {
            lease_name: LEASE_NAME.into(),
            namespace: self.namespace.clone(),
            managed_by: MANAGED_BY.into(),
            identity: self.identity.clone(),
            timing: self.lease,
        }
    }
}

/// One process's part in the election. If it is dropped without [`release`](LeaderElector::release), the
/// Lease expires.
#[derive(Debug)]
pub struct LeaderElector {
    /// Until when this process is the leader.
    leads_until: watch::Receiver<Option<Instant>>,
    stop: CancellationToken,
    task: parking_lot::Mutex<Option<JoinHandle<()>>>,
}

impl LeaderElector {
    /// Starts a task that acquires the Lease and renews it.
    #[must_use]
    pub fn start(client: &Client, settings: ElectionSettings, clock: Arc<dyn Clock>) -> Self {
        let (sender, leads_until) = watch::channel(None);
        let stop = CancellationToken::new();
        let candidate = Candidate {
            api: Api::namespaced(client.clone(), &settings.namespace),
            clock,
            settings,
            leads_until: sender,
            own: None,
            observed: None,
            has_seen_lease: false,
        };
        let task = tokio::spawn(candidate.run(stop.clone()));
        Self { leads_until, stop, task: parking_lot::Mutex::new(Some(task)) }
    }

    /// Returns whether this process is the leader now. At most one is.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        // The task may be late, so the time counts.
        self.leads_until.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until this process is the leader.
    pub async fn wait_leader(&self) {
        let mut leads_until = self.leads_until.clone();
        if leads_until.wait_for(|until| until.is_some_and(|until| Instant::now() < until)).await.is_err() {
            // The task has ended: this process will not lead again.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until this process is not the leader, or no longer.
    pub async fn wait_lost(&self) {
        let mut leads_until = self.leads_until.clone();
        loop {
            let until = *leads_until.borrow_and_update();
            let Some(until) = until.filter(|until| Instant::now() < *until) else { return };
            tokio::select! {
                () = sleep_until(until) => {}
                changed = leads_until.changed() => {
                    // The task has ended: nobody renews the Lease.
                    if changed.is_err() {
                        sleep_until(until).await;
                    }
                }
            }
        }
    }

    /// Releases the Lease, so that another process need not wait until it expires. It is not acquired again.
    pub async fn release(&self) {
        self.stop.cancel();
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::warn!(%error, "lease not released");
        }
    }
}

impl Drop for LeaderElector {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

/// The task of an elector.
struct Candidate {
    api: Api<Lease>,
    clock: Arc<dyn Clock>,
    settings: ElectionSettings,
    leads_until: watch::Sender<Option<Instant>>,
    /// The Lease as this process wrote it last, while it is the holder.
    own: Option<Lease>,
    /// The version of another holder's Lease, and since when it is unchanged; the version is empty if the
    /// Lease was deleted.
    observed: Option<(String, Instant)>,
    /// Whether this process has ever seen a Lease.
    has_seen_lease: bool,
}

impl Candidate {
    async fn run(mut self, stop: CancellationToken) {
        let elect = async {
            loop {
                let started = Instant::now();
                self.try_acquire_or_renew().await;
                self.wait_until(started + self.settings.timing.retry_period).await;
            }
        };
        if stop.run_until_cancelled(elect).await.is_none() {
            self.release().await;
        }
    }

    /// Waits for the next attempt, and ends the leadership at its deadline.
    async fn wait_until(&mut self, until: Instant) {
        let deadline = *self.leads_until.borrow();
        if let Some(deadline) = deadline.filter(|deadline| *deadline <= until) {
            sleep_until(deadline).await;
            self.stop_leading("it could not be renewed in time");
        }
        sleep_until(until).await;
    }

    async fn try_acquire_or_renew(&mut self) {
        let started = Instant::now();
        // A request must not outlast the leadership. Without leadership, it is given up to be tried again.
        let deadline = (*self.leads_until.borrow()).unwrap_or(started + self.settings.timing.renew_deadline);
        match timeout_at(deadline, self.attempt()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "lease not acquired or renewed"),
            Err(_) => tracing::debug!("lease not acquired or renewed: the API server does not answer"),
        }
    }

    async fn attempt(&mut self) -> Result<(), kube::Error> {
        if let Some(own) = self.own.clone() {
            match self.replace(own).await {
                Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
                    // Somebody else changed it, or the response to our own write was lost.
                    self.own = None;
                }
                result => return result,
            }
        }
        let Some(lease) = self.api.get_opt(&self.settings.lease_name).await? else {
            return if self.may_create() { self.create().await } else { Ok(()) };
        };
        self.has_seen_lease = true;
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if holder == self.settings.identity || holder.is_empty() || self.has_expired(&lease) {
            return match self.replace(lease).await {
                // Another process was faster.
                Err(kube::Error::Api(status)) if status.is_conflict() => Ok(()),
                result => result,
            };
        }
        self.stop_leading("another process took it");
        Ok(())
    }

    /// Returns whether another holder's Lease has been unchanged for long enough. Records since when it is.
    fn has_expired(&mut self, lease: &Lease) -> bool {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let theirs = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
        let theirs = Duration::from_secs(u64::try_from(theirs).unwrap_or(0));
        match &self.observed {
            Some((observed, since)) if *observed == version => {
                since.elapsed() >= self.settings.timing.lease_duration.max(theirs)
            }
            _ => {
                self.observed = Some((version, Instant::now()));
                false
            }
        }
    }

    /// Returns whether a missing Lease may be created: not as long as the holder of a deleted one may still
    /// lead.
    fn may_create(&mut self) -> bool {
        let leads = self.leads_until.borrow().is_some_and(|until| Instant::now() < until);
        if leads || !self.has_seen_lease {
            return true;
        }
        match &self.observed {
            Some((version, since)) if version.is_empty() => {
                since.elapsed() >= self.settings.timing.lease_duration
            }
            _ => {
                self.observed = Some((String::new(), Instant::now()));
                false
            }
        }
    }

    async fn create(&mut self) -> Result<(), kube::Error> {
        let started = Instant::now();
        let labels = [("app.kubernetes.io/managed-by".to_owned(), self.settings.managed_by.clone())];
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.settings.lease_name.clone()),
                labels: Some(labels.into()),
                ..ObjectMeta::default()
            },
            spec: Some(self.spec(None)),
        };
        match self.api.create(&PostParams::default(), &lease).await {
            Ok(lease) => self.lead(lease, started),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Acquires or renews the Lease, unless it was changed since this version.
    async fn replace(&mut self, mut lease: Lease) -> Result<(), kube::Error> {
        let started = Instant::now();
        lease.spec = Some(self.spec(lease.spec));
        let lease = self.api.replace(&self.settings.lease_name, &PostParams::default(), &lease).await?;
        self.lead(lease, started);
        Ok(())
    }

    fn lead(&mut self, lease: Lease, started: Instant) {
        (self.own, self.observed, self.has_seen_lease) = (Some(lease), None, true);
        let until = started + self.settings.timing.renew_deadline;
        if self.leads_until.send_replace(Some(until)).is_none() {
            tracing::info!(identity = self.settings.identity, "became leader");
        }
    }

    fn stop_leading(&mut self, reason: &str) {
        if self.leads_until.send_replace(None).is_some() {
            tracing::warn!(identity = self.settings.identity, reason, "lost leadership");
        }
    }

    /// Returns the spec that makes this process the holder, as of now.
    fn spec(&self, previous: Option<LeaseSpec>) -> LeaseSpec {
        let previous = previous.unwrap_or_default();
        let now = micro_time(self.clock.now());
        let is_renewal = previous.holder_identity.as_deref() == Some(&self.settings.identity);
        let transitions = previous.lease_transitions.unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.settings.identity.clone()),
            lease_duration_seconds: i32::try_from(self.settings.timing.lease_duration.as_secs()).ok(),
            acquire_time: if is_renewal { previous.acquire_time } else { now.clone() },
            renew_time: now,
            lease_transitions: Some(if is_renewal { transitions } else { transitions.saturating_add(1) }),
            ..previous
        }
    }

    /// Ends the leadership, and then releases the Lease: another process may lead as soon as it is released.
    async fn release(&mut self) {
        self.leads_until.send_replace(None);
        let Some(mut lease) = self.own.take() else { return };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            spec.renew_time = micro_time(self.clock.now());
        }
        let params = PostParams::default();
        let replace = self.api.replace(&self.settings.lease_name, &params, &lease);
        if !matches!(timeout(self.settings.timing.retry_period, replace).await, Ok(Ok(_))) {
            tracing::debug!("lease not released; it will expire");
        }
    }
}

fn micro_time(at: SystemTime) -> Option<MicroTime> {
    Timestamp::try_from(at).ok().map(MicroTime)
}

#[cfg(test)]
#[path = "leader_tests.rs"]
mod tests;

//! Selector of several routers acts on its own: the one that holds a `coordination.k8s.io` Lease.
//!
//! A holder believes in its Lease until [`ElectionTiming::renew_deadline`] after it *began* the last renewal that succeeded, by its own
//! monotonic clock. Another one takes the Lease only after it has *seen* it unchanged for [`ElectionTiming::lease_duration`], by its own. The former
//! is shorter, every change is guarded by the resource version, and no wall clock is compared: so at most one believes
//! at any time, however far clocks are apart and however late a request arrives. The times in the object are for people and
//! for `kubectl`.
//!
//! A Lease that somebody removes is made anew at once by its holder, and by another only after it would have run out.
//! (A router that begins in that very moment, and has never seen it, takes a removed one for one that never was.)

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
    settings::{ElectionTiming, KubernetesSettings},
};
use crate::clock::Clock;

/// The Lease's name.
pub const NAME: &str = "opencode-router-reaper";

/// One router's part in it. Dropped without [`release`](LeaderElector::release), the Lease runs out by itself.
#[derive(Debug)]
pub struct LeaderElector {
    /// Until when it is believed to be held.
    held: watch::Receiver<Option<Instant>>,
    stop: CancellationToken,
    task: parking_lot::Mutex<Option<JoinHandle<()>>>,
}

impl LeaderElector {
    /// Seeks the Lease and keeps it, in a task of its own.
    #[must_use]
    pub fn start(client: &Client, settings: &KubernetesSettings, clock: Arc<dyn Clock>) -> Self {
        let (told, held) = watch::channel(None);
        let stop = CancellationToken::new();
        let seeker = Election {
            api: Api::namespaced(client.clone(), &settings.namespace),
            clock,
            who: settings.identity.clone(),
            timing: settings.lease,
            told,
            mine: None,
            other: None,
            known: false,
        };
        let task = tokio::spawn(seeker.work(stop.clone()));
        Self { held, stop, task: parking_lot::Mutex::new(Some(task)) }
    }

    /// Whether this router holds it now. True of one at most.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        // Not by the task alone: it may be late.
        self.held.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until it is held.
    pub async fn wait_leader(&self) {
        let mut held = self.held.clone();
        if held.wait_for(|until| until.is_some_and(|until| Instant::now() < until)).await.is_err() {
            // Released: it will not be again.
            std::future::pending::<()>().await;
        }
    }

    /// Gives it back, so that another router need not wait until it has run out. It is not sought again.
    pub async fn release(&self) {
        self.stop.cancel();
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::warn!(%error, "the reaper's lease was not given back");
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

struct Election {
    api: Api<Lease>,
    clock: Arc<dyn Clock>,
    who: String,
    timing: ElectionTiming,
    told: watch::Sender<Option<Instant>>,
    /// As it was after our last change, where it is ours.
    mine: Option<Lease>,
    /// Another's resource version, and since when it is seen so; empty where the Lease was removed.
    other: Option<(String, Instant)>,
    /// This process has seen that there is a Lease.
    known: bool,
}

impl Election {
    async fn work(mut self, stop: CancellationToken) {
        let seeking = async {
            loop {
                let begun = Instant::now();
                self.turn().await;
                self.pause(begun + self.timing.retry_period).await;
            }
        };
        if stop.run_until_cancelled(seeking).await.is_none() {
            self.give_back().await;
        }
    }

    /// Waits for the next turn, and says in time that the Lease is lost.
    async fn pause(&mut self, until: Instant) {
        let lost = *self.told.borrow();
        if let Some(lost) = lost.filter(|lost| *lost <= until) {
            sleep_until(lost).await;
            self.lose("it could not be renewed in time");
        }
        sleep_until(until).await;
    }

    /// Renews it, or looks whether it can be had.
    async fn turn(&mut self) {
        let begun = Instant::now();
        // A request that hangs must not outlast the belief; and one without belief is tried again.
        let deadline = (*self.told.borrow()).unwrap_or(begun + self.timing.renew_deadline);
        match timeout_at(deadline, self.attempt()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the reaper's lease could not be asked for"),
            Err(_) => tracing::debug!("the API server did not answer for the reaper's lease"),
        }
    }

    async fn attempt(&mut self) -> Result<(), kube::Error> {
        if let Some(mine) = self.mine.clone() {
            match self.put(mine).await {
                Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
                    // Somebody else's hand, or an answer of ours that was lost.
                    self.mine = None;
                }
                done => return done,
            }
        }
        let Some(found) = self.api.get_opt(NAME).await? else {
            return if self.may_make() { self.make().await } else { Ok(()) };
        };
        self.known = true;
        let holder = found.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if holder == self.who || holder.is_empty() || self.has_expired(&found) {
            return match self.put(found).await {
                // Another one was quicker.
                Err(kube::Error::Api(status)) if status.is_conflict() => Ok(()),
                done => done,
            };
        }
        self.lose("another router took it");
        Ok(())
    }

    /// Whether another's Lease was seen unchanged for long enough; remembers since when.
    fn has_expired(&mut self, found: &Lease) -> bool {
        let version = found.metadata.resource_version.clone().unwrap_or_default();
        let theirs = found.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
        let lease_duration =
            self.timing.lease_duration.max(Duration::from_secs(u64::try_from(theirs).unwrap_or(0)));
        match &self.other {
            Some((seen, since)) if *seen == version => since.elapsed() >= lease_duration,
            _ => {
                self.other = Some((version, Instant::now()));
                false
            }
        }
    }

    /// Whether a Lease that is not there may be made: not while another believes in one that was removed under its hands.
    fn may_make(&mut self) -> bool {
        if self.told.borrow().is_some_and(|until| Instant::now() < until) {
            return true;
        }
        if !self.known {
            return true;
        }
        match &self.other {
            Some((seen, since)) if seen.is_empty() => since.elapsed() >= self.timing.lease_duration,
            _ => {
                self.other = Some((String::new(), Instant::now()));
                false
            }
        }
    }

    async fn make(&mut self) -> Result<(), kube::Error> {
        let begun = Instant::now();
        let labels = [("app.kubernetes.io/managed-by".to_owned(), MANAGED_BY.to_owned())];
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(NAME.into()),
                labels: Some(labels.into()),
                ..ObjectMeta::default()
            },
            spec: Some(self.spec(None)),
        };
        match self.api.create(&PostParams::default(), &lease).await {
            Ok(made) => self.keep(made, begun),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Makes it ours, or renews it, unless it was changed since `lease` was read.
    async fn put(&mut self, mut lease: Lease) -> Result<(), kube::Error> {
        let begun = Instant::now();
        lease.spec = Some(self.spec(lease.spec));
        let done = self.api.replace(NAME, &PostParams::default(), &lease).await?;
        self.keep(done, begun);
        Ok(())
    }

    fn keep(&mut self, lease: Lease, begun: Instant) {
        (self.mine, self.other, self.known) = (Some(lease), None, true);
        let until = begun + self.timing.renew_deadline;
        if self.told.send_replace(Some(until)).is_none() {
            tracing::info!(holder = self.who, "this router holds the reaper's lease: it stops what is idle");
        }
    }

    fn lose(&mut self, why: &str) {
        if self.told.send_replace(None).is_some() {
            tracing::warn!(holder = self.who, why, "this router lost the reaper's lease");
        }
    }

    /// What it is to say: that it is ours, now.
    fn spec(&self, before: Option<LeaseSpec>) -> LeaseSpec {
        let before = before.unwrap_or_default();
        let now = micro_time(self.clock.now());
        let renewed = before.holder_identity.as_deref() == Some(&self.who);
        let transitions = before.lease_transitions.unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.who.clone()),
            lease_duration_seconds: i32::try_from(self.timing.lease_duration.as_secs()).ok(),
            acquire_time: if renewed { before.acquire_time } else { now.clone() },
            renew_time: now,
            lease_transitions: Some(if renewed { transitions } else { transitions.saturating_add(1) }),
            ..before
        }
    }

    /// Says that it is nobody's. First in here, since the other may act at once.
    async fn give_back(&mut self) {
        self.told.send_replace(None);
        let Some(mut lease) = self.mine.take() else { return };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            spec.renew_time = micro_time(self.clock.now());
        }
        let params = PostParams::default();
        if !matches!(
            timeout(self.timing.retry_period, self.api.replace(NAME, &params, &lease)).await,
            Ok(Ok(_))
        ) {
            tracing::debug!("the reaper's lease was not given back; it runs out");
        }
    }
}

fn micro_time(at: SystemTime) -> Option<MicroTime> {
    Timestamp::try_from(at).ok().map(MicroTime)
}

#[cfg(test)]
#[path = "leader_tests.rs"]
mod tests;

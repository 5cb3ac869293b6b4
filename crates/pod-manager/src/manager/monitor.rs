//! One task for each run of a session: delivers the first prompt, [follows](super::follower) opencode's
//! events, probes it from time to time, and stops the session once it is idle.

use std::{sync::Arc, time::Duration};

use futures_util::future::join3;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::{
    agents::{self, Agents},
    entry::{Entry, NewRun},
    first_prompt,
    follower::Follower,
    idle,
    manager::{Manager, Opening},
    port_watch::watch_ports,
    run_state::RunState,
    view::answered_at,
};
use crate::{
    backend::BackendError,
    backoff::jitter,
    clock::elapsed,
    model::{Endpoint, SessionStatus, StopReason},
    opencode::{Conversation, OpencodeError},
};

/// How long opencode is left to the requests that have waited for it.
const HEAD_START: Duration = Duration::from_millis(50);

pub(super) struct RunMonitor {
    manager: Arc<Manager>,
    entry: Arc<Entry>,
    endpoint: Endpoint,
    agents: Arc<Mutex<Agents>>,
    delivered: bool,
    /// Why the last attempt to deliver failed.
    deliver_error: Option<String>,
    /// A failed probe is logged once, until one succeeds.
    probe_error_logged: bool,
}

impl RunMonitor {
    /// Monitors the run until it is over. `is_awaited`: requests have waited for it. They go first: opencode
    /// does one thing at a time, and its first conversation takes it 0.1 s.
    pub(super) async fn run(manager: Arc<Manager>, run: NewRun, is_awaited: bool) {
        let NewRun { entry, endpoint, token } = run;
        let agents = Arc::new(Mutex::new(Agents::default()));
        let follower = Follower::new(manager.clone(), entry.clone(), endpoint.clone(), agents.clone());
        let (ports_manager, ports_entry, run) = (manager.clone(), entry.clone(), endpoint.clone());
        let ports = watch_ports(&ports_manager, &ports_entry, &run);
        let mut monitor = Self {
            manager,
            entry,
            endpoint,
            agents,
            delivered: false,
            deliver_error: None,
            probe_error_logged: false,
        };
        // On the heap: the futures around it would each need its memory once more.
        let run = Box::pin(async {
            if is_awaited {
                sleep(HEAD_START).await;
            }
            Box::pin(monitor.take_over()).await;
            join3(monitor.work(), follower.run(), ports).await;
        });
        token.run_until_cancelled(run).await;
    }

    /// Makes the first request to a session that was open before this process started. Its owner waits for
    /// nothing, so it waits for its turn; until then nothing else is asked either.
    async fn take_over(&mut self) {
        if self.is_open() {
            let manager = self.manager.clone();
            // The sender of permits is never closed.
            let _permit = manager.takeover_permits.acquire().await;
            self.deliver().await;
        }
    }

    async fn work(&mut self) {
        // What happens rarely is on the heap while it happens, so that a monitor that waits is small.
        Box::pin(self.open()).await;
        loop {
            tokio::select! {
                () = sleep(self.probe_interval()) => {}
                // Somebody who begins to watch sees the present state.
                () = self.manager.subscriptions.wait_first_subscriber(&self.entry.owner) => {}
            }
            if !self.delivered {
                Box::pin(self.deliver()).await;
            }
            if Box::pin(self.probe()).await.is_ok() && self.is_idle() {
                Box::pin(self.stop_if_idle()).await;
            }
        }
    }

    /// Opens the session to its owner, and reports how long that took.
    async fn open(&mut self) {
        let opened = |(run, status): (RunState, Arc<SessionStatus>)| {
            Some(elapsed(run.opened_at?, answered_at(&status)))
        };
        let was_open = self.is_open();
        self.deliver_within_timeout().await;
        let run = self.entry.run(&self.endpoint).filter(|_| !was_open);
        let sent_prompt = run.as_ref().is_some_and(|(run, _)| run.prompted_at.is_some());
        if let Some(duration) = run.and_then(opened) {
            let hash = self.entry.hash;
            // Fails only if nobody receives.
            let _ = self.manager.openings.send(Opening { hash, duration, sent_prompt });
        }
    }

    /// Tries to deliver until that succeeds, or until the owner has waited long enough: then the session is
    /// opened without.
    async fn deliver_within_timeout(&mut self) {
        let begun = Instant::now();
        while !self.delivered && !self.deliver().await {
            if begun.elapsed() >= self.manager.settings.deliver_timeout {
                let error =
                    self.deliver_error.as_deref().unwrap_or("the leader has not sent the first prompt");
                tracing::warn!(
                    session.hash = %self.entry.hash,
                    error,
                    "delivering the first prompt failed; opening the session without it"
                );
                let now = self.manager.clock.now();
                self.update_run(|run| {
                    run.landing_path.get_or_insert_with(|| "/".into());
                    run.opened_at.get_or_insert(now);
                });
                return;
            }
            sleep(self.manager.settings.deliver_interval).await;
        }
    }

    /// Delivers the first prompt and opens the session. Returns whether that succeeded. Only the leader sends
    /// anything; other replicas wait for it.
    async fn deliver(&mut self) -> bool {
        let Some((_, status)) = self.entry.run(&self.endpoint) else { return false };
        let manager = &self.manager;
        let (session, sent) = (&status.session, status.first_prompt_sent);
        let sends = session.initial_message.is_some() && !sent;
        let is_leader = manager.is_leader();
        let delivery = if is_leader {
            let timeout = manager.settings.store_timeout;
            first_prompt::deliver(
                &manager.opencode,
                &*manager.backend,
                session,
                sent,
                &self.endpoint,
                timeout,
            )
            .await
            .map(Some)
        } else {
            first_prompt::delivered_by_leader(&manager.opencode, session, sent, &self.endpoint).await
        };
        match delivery {
            Ok(None) => {
                self.deliver_error = None;
                false
            }
            Ok(Some(conversation)) => {
                let now = manager.clock.now();
                let landing_path = conversation.landing_path();
                self.update_run(|run| {
                    run.opened_at.get_or_insert(now);
                    (run.title, run.landing_path) = (conversation.title, Some(landing_path));
                    if sends && is_leader {
                        (run.busy, run.busy_at, run.prompted_at) = (true, Some(now), Some(now));
                    }
                });
                self.delivered = true;
                true
            }
            Err(error) => {
                tracing::debug!(
                    session.hash = %self.entry.hash,
                    %error,
                    "delivering the first prompt failed; retrying"
                );
                self.deliver_error = Some(error.to_string());
                false
            }
        }
    }

    /// Asks opencode whether an agent is at work, and which conversation is the newest.
    async fn probe(&mut self) -> Result<(), OpencodeError> {
        let probed = self.probe_work().await;
        match &probed {
            Ok(()) => self.probe_error_logged = false,
            Err(error) => {
                if !std::mem::replace(&mut self.probe_error_logged, true) {
                    tracing::warn!(
                        session.hash = %self.entry.hash,
                        %error,
                        "probing opencode failed; the session is not stopped as idle until a probe succeeds"
                    );
                }
                self.update_run(|run| run.probe_error = Some(error.to_string()));
            }
        }
        if probed.is_ok() && self.delivered {
            self.update_landing_path().await;
        }
        probed
    }

    /// Asks whether an agent is at work, and records the answer.
    async fn probe_work(&self) -> Result<(), OpencodeError> {
        let (version, busy) = agents::ask(&self.manager.opencode, &self.endpoint, &self.agents).await?;
        let now = self.manager.clock.now();
        let work = {
            let mut agents = self.agents.lock();
            agents.set_busy(version, busy);
            agents.work()
        };
        self.update_run(|run| {
            run.probe_error = None;
            run.set_work(work, now);
        });
        Ok(())
    }

    /// Makes the landing path lead to the newest conversation.
    async fn update_landing_path(&self) {
        match self.manager.opencode.conversations(&self.endpoint, 1).await {
            Ok(newest) => {
                let newest = newest.into_iter().next();
                let path = newest.as_ref().map_or_else(|| "/".into(), Conversation::landing_path);
                self.update_run(|run| {
                    (run.title, run.landing_path) = (newest.and_then(|newest| newest.title), Some(path));
                });
            }
            Err(error) => {
                tracing::debug!(session.hash = %self.entry.hash, %error, "listing conversations failed");
            }
        }
    }

    /// Stops the idle session, unless somebody turns out to need it: opencode is asked again, and no request
    /// may have come since. From then on requests are refused, so that none is accepted and then cut off.
    async fn stop_if_idle(&self) {
        let (manager, entry) = (&self.manager, &self.entry);
        let leading_for = manager.leadership.observe(manager.clock.now());
        if !idle::may_stop(leading_for, manager.settings.activity_write_interval) {
            return;
        }
        // A command that is running decides what becomes of the session.
        let Some(_guard) = manager.command_locks.try_lock(entry.hash) else { return };
        let routes = entry.routes();
        if self.probe_work().await.is_err() || !self.is_idle() {
            return;
        }
        if !entry.close_unless_routed(routes, manager.clock.now(), &manager.subscriptions) {
            return;
        }
        let hash = entry.hash;
        tracing::info!(session.hash = %hash, "stopping the idle session");
        manager.write_activity(entry, Duration::ZERO).await;
        if let Err(error) = manager.backend.stop(hash, StopReason::Idle).await {
            if matches!(error, BackendError::InUse) {
                tracing::info!(session.hash = %hash, "idle stop refused: another router uses the session");
            } else {
                tracing::warn!(session.hash = %hash, %error, "stopping the idle session failed; retrying");
            }
            entry.reopen(manager.clock.now(), &manager.subscriptions);
        }
    }

    /// Returns whether the session is open to its owner.
    fn is_open(&self) -> bool {
        self.entry.run(&self.endpoint).is_some_and(|(run, _)| run.opened_at.is_some())
    }

    fn is_idle(&self) -> bool {
        self.idle_time_left() == Some(Duration::ZERO)
    }

    /// Returns how long until the session is idle; `None` if it is not open yet, or the run is over.
    fn idle_time_left(&self) -> Option<Duration> {
        let (run, status) = self.entry.run(&self.endpoint)?;
        let (clock, settings) = (&self.manager.clock, &self.manager.settings);
        let last_activity = self.entry.last_activity();
        idle::time_left(&run, status.since, last_activity, clock.now(), settings.idle_timeout)
    }

    fn update_run(&self, update: impl FnOnce(&mut RunState)) {
        let now = self.manager.clock.now();
        self.entry.update_run(&self.endpoint, now, &self.manager.subscriptions, update);
    }

    /// Returns the time until the next probe: short while somebody watches and no events are received, and
    /// never past the moment at which the session could be idle.
    fn probe_interval(&self) -> Duration {
        let settings = &self.manager.settings;
        let followed = self.agents.lock().is_followed();
        let watched = !followed && self.manager.subscriptions.has_subscribers(&self.entry.owner);
        let longest =
            if watched { settings.probe_interval_watched } else { settings.probe_interval_unwatched };
        let interval = jitter(longest);
        match self.idle_time_left() {
            Some(left) => interval.min(left.max(settings.min_probe_interval)),
            None => interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_size<A, F>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_monitor_that_waits_is_small() {
        // There are thousands. A request's future alone is larger than this.
        let sizes = [future_size(RunMonitor::work), future_size(Follower::run)];
        assert!(sizes.iter().all(|size| *size <= 1024), "{sizes:?}");
    }
}

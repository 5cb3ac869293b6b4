//! What the manager does on its own: follows the backend's watch, starts a monitor for each run, and writes
//! activity to the backend.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{entry::Entry, manager::Manager, monitor::RunMonitor};
use crate::backend::WatchEvent;

/// Before a watch that ended is opened again.
const WATCH_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How many sessions' activity is written at once.
const CONCURRENT_WRITES: usize = 8;
/// How long the writes at the end may take in all.
const FINAL_WRITES_TIMEOUT: Duration = Duration::from_secs(5);

impl Manager {
    /// Keeps the index up to date, monitors runs and stops idle sessions, until `stop` is cancelled. Returns
    /// once the last activity is written. Call it once, and
    /// [`SessionBackend::shutdown`](crate::SessionBackend::shutdown) after it.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let monitors = TaskTracker::new();
        // Ends the monitors also if this future is dropped.
        let stop_monitors = stop.child_token();
        let guard = stop_monitors.clone().drop_guard();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.watch(&monitors, &stop_monitors) => {}
            () = self.sweep() => {}
        }
        drop(guard);
        monitors.close();
        monitors.wait().await;
        let entries = self.index.all();
        let writes = stream::iter(&entries)
            .for_each_concurrent(CONCURRENT_WRITES, |entry| self.write_activity(entry, Duration::ZERO));
        if timeout(FINAL_WRITES_TIMEOUT, writes).await.is_err() {
            tracing::warn!("last activity of some sessions not written in time");
        }
    }

    /// Applies every event of the backend's watch to the index. Never returns.
    async fn watch(self: &Arc<Self>, monitors: &TaskTracker, stop: &CancellationToken) {
        loop {
            let mut events = self.backend.watch();
            while let Some(event) = events.next().await {
                let is_first = !self.is_ready();
                // Before the event releases the requests that wait.
                let is_awaited =
                    matches!(&event, WatchEvent::Applied(status) if self.waiting.awaits(status.session.hash));
                let runs = self.index.apply(&event, self.clock.now(), is_first, &self.subscriptions);
                if is_first {
                    self.ready.send_replace(true);
                }
                for run in runs {
                    let (manager, stop) = (self.clone(), stop.clone());
                    monitors.spawn(async move {
                        stop.run_until_cancelled(RunMonitor::run(manager, run, is_awaited)).await;
                    });
                }
            }
            tracing::warn!("backend watch ended; watching again");
            sleep(WATCH_RETRY_INTERVAL).await;
        }
    }

    /// Publishes and writes activity, and drops state that the backend did not confirm in time. Never
    /// returns.
    async fn sweep(&self) {
        let mut ticks = interval(self.settings.sweep_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.leadership.observe(self.clock.now());
            let entries = self.index.all();
            for entry in &entries {
                entry.sweep(self.clock.now(), self.settings.activity_notify_interval, &self.subscriptions);
            }
            self.index.remove_vacant(&entries);
            stream::iter(&entries)
                .for_each_concurrent(CONCURRENT_WRITES, |entry| {
                    self.write_activity(entry, self.settings.activity_write_interval)
                })
                .await;
        }
    }

    /// Writes the session's newest activity to the backend, unless that was done within `interval`.
    pub(super) async fn write_activity(&self, entry: &Entry, interval: Duration) {
        if let Some(at) = entry.activity_to_write(self.clock.now(), interval)
            && let Err(error) = self.backend.touch(entry.hash, at).await
        {
            entry.activity_not_written();
            tracing::warn!(session.hash = %entry.hash, %error, "writing the last activity failed; retrying");
        }
    }
}

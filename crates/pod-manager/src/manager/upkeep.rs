//! The manager's loops.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Manager, keeper::Keeper, slot::Slot};

/// Between two attempts to watch a backend whose stream ended.
const WATCH_AGAIN: Duration = Duration::from_secs(1);
/// How many sessions' activity is written at once.
const WRITERS: usize = 8;
/// How long the last writing may take.
const LAST_WRITES: Duration = Duration::from_secs(5);

impl Manager {
    /// Keeps the index, greets, probes and stops what is idle; returns when `stop` is cancelled, with the last
    /// activity written down. Call it once, and [`SessionBackend::shutdown`](crate::SessionBackend::shutdown) after it.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let keepers = TaskTracker::new();
        // Ends the keepers also where this future is dropped instead.
        let stopped = stop.child_token();
        let ended = stopped.clone().drop_guard();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.watch(&keepers, &stopped) => {}
            () = self.sweep() => {}
        }
        drop(ended);
        keepers.close();
        keepers.wait().await;
        let slots = self.index.all();
        let writes = stream::iter(&slots)
            .for_each_concurrent(WRITERS, |slot| self.write_activity(slot, Duration::ZERO));
        if timeout(LAST_WRITES, writes).await.is_err() {
            tracing::warn!("not all of the last activity could be written in time");
        }
    }

    /// Takes in what the backend tells, for ever.
    async fn watch(self: &Arc<Self>, keepers: &TaskTracker, stop: &CancellationToken) {
        loop {
            let mut news = self.backend.watch();
            while let Some(observation) = news.next().await {
                let first = !self.is_ready();
                let runs = self.index.take_in(&observation, self.clock.now(), first, &self.hub);
                for run in runs {
                    let (manager, stop) = (self.clone(), stop.clone());
                    keepers.spawn(async move {
                        stop.run_until_cancelled(Keeper::keep(manager, run)).await;
                    });
                }
                if first {
                    self.ready.send_replace(true);
                }
            }
            tracing::warn!("the backend stopped telling what it sees; it is watched anew");
            sleep(WATCH_AGAIN).await;
        }
    }

    /// Shows and writes activity, and drops what was believed too long, for ever.
    async fn sweep(&self) {
        let mut ticks = interval(self.settings.sweep);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.alone.look(self.backend.reaps(), self.clock.now());
            let slots = self.index.all();
            for slot in &slots {
                slot.sweep(self.clock.now(), self.settings.tell_activity, &self.hub);
            }
            let gone: Vec<_> = slots.iter().filter(|slot| slot.is_vacant()).cloned().collect();
            self.index.forget(&gone);
            stream::iter(&slots)
                .for_each_concurrent(WRITERS, |slot| self.write_activity(slot, self.settings.write_activity))
                .await;
        }
    }

    /// Writes the session's newest activity to the backend, unless that was done within `pace`.
    pub(super) async fn write_activity(&self, slot: &Slot, pace: Duration) {
        if let Some(at) = slot.unwritten(self.clock.now(), pace)
            && let Err(error) = self.backend.touch(slot.hash, at).await
        {
            slot.not_written();
            tracing::warn!(session.hash = %slot.hash, %error, "the last activity could not be written down");
        }
    }
}

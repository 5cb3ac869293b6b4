//! When a pass begins.

use std::time::Duration;

use pod_manager::{
    backoff::{Backoff, jitter},
    kubernetes::leader::LeaderElector,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Context, Failure};
use crate::status::{Half, PassState};

/// A half of the work.
pub trait Reconcile {
    /// Which one.
    const HALF: Half;

    /// Compares and applies once. Cancellation-safe: the next pass starts from the beginning. Returns whether
    /// it has compared anything: if not, nothing was due.
    fn reconcile(&mut self) -> impl Future<Output = Result<bool, Failure>>;

    /// Forgets what earlier passes have learned: another process has written since.
    fn forget(&mut self) {}

    /// Returns what a pass has to see: a change of it begins the next pass.
    fn changes(&self) -> Vec<watch::Receiver<u64>>;
}

/// When passes begin.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long changes are gathered before a pass.
    pub gather: Duration,
    /// The longest time between two passes, without any change.
    pub resync: Duration,
    /// The pauses after failures.
    pub min_backoff: Duration,
    /// The longest of them.
    pub max_backoff: Duration,
    /// Whether a change ends such a pause. If not, no number of changes makes more calls.
    pub wakes_early: bool,
}

impl Pace {
    /// IngressRoutes: one object that is refused must not delay those of other sessions.
    pub const KUBERNETES: Self = Self {
        gather: Duration::from_millis(50),
        resync: Duration::from_secs(300),
        min_backoff: Duration::from_secs(1),
        max_backoff: Duration::from_secs(60),
        wakes_early: true,
    };
    /// Cloudflare.
    pub const CLOUDFLARE: Self = Self {
        gather: Duration::from_millis(500),
        resync: Duration::from_secs(600),
        min_backoff: Duration::from_secs(2),
        max_backoff: Duration::from_secs(300),
        wakes_early: false,
    };
}

/// How long a pass may continue after the process was asked to end.
const GRACE: Duration = Duration::from_secs(5);
/// The pause after a failure that only a change of the configuration can cure.
const NEEDS_OPERATOR_BACKOFF: Duration = Duration::from_secs(60);

/// Reconciles one half while this process leads, until `stop`.
pub async fn drive<R: Reconcile>(
    mut half: R,
    context: &Context,
    leader: &LeaderElector,
    pace: Pace,
    stop: &CancellationToken,
) {
    let mut changes = half.changes();
    let mut backoff = Backoff::new(pace.min_backoff, pace.max_backoff);
    let mut resync_at = Instant::now();
    loop {
        let ready = async {
            context.wait_synced().await;
            leader.wait_leader().await;
        };
        if stop.run_until_cancelled(ready).await.is_none() {
            return;
        }
        changes.iter_mut().for_each(|change| drop(change.borrow_and_update()));
        let outcome = tokio::select! {
            outcome = half.reconcile() => outcome,
            () = leader.wait_lost() => {
                context.status.record(R::HALF, PassState::Waiting, Duration::ZERO);
                backoff.reset();
                half.forget();
                continue;
            }
            () = async { stop.cancelled().await; sleep(GRACE).await } => return,
        };
        let (pause, is_failure) = match outcome {
            Ok(has_compared) => {
                backoff.reset();
                if has_compared {
                    context.metrics.record_pass(R::HALF, "ok");
                    context.status.record(R::HALF, PassState::Succeeded, Duration::ZERO);
                }
                // Changes that need no pass do not delay the next one.
                let now = Instant::now();
                if has_compared || resync_at <= now {
                    resync_at = now + jitter(pace.resync);
                }
                (resync_at - now, false)
            }
            Err(failure) => {
                context.metrics.record_pass(R::HALF, &failure.reason);
                let pause = pause(&failure, backoff.next_delay(), pace.max_backoff);
                let Failure { reason, message, .. } = failure;
                context.status.record(R::HALF, PassState::Failed { reason, message }, pause);
                (pause, true)
            }
        };
        let started = Instant::now();
        let wake = async {
            if is_failure && !pace.wakes_early {
                std::future::pending::<()>().await;
            }
            any_changed(&mut changes).await;
            // What changes together is gathered into one pass. After a failure, changes wait a little.
            let gathered = if is_failure { pace.min_backoff } else { pace.gather };
            sleep_until((started + gathered).max(Instant::now() + pace.gather)).await;
        };
        tokio::select! {
            // The time runs out, or a change came.
            _ = timeout(pause, wake) => {}
            () = leader.wait_lost() => {
                context.status.record(R::HALF, PassState::Waiting, Duration::ZERO);
                backoff.reset();
                half.forget();
            }
            () = stop.cancelled() => return,
        }
    }
}

/// Returns the pause after a failure: never shorter than the other side asked for.
fn pause(failure: &Failure, backoff: Duration, max: Duration) -> Duration {
    let least = if failure.needs_operator { jitter(NEEDS_OPERATOR_BACKOFF).min(max) } else { Duration::ZERO };
    // Jitter only adds to what was asked for.
    let asked = failure.retry_after.map_or(Duration::ZERO, |asked| asked.max(jitter(asked)));
    backoff.max(least).max(asked)
}

/// Waits until one of them changes.
async fn any_changed(changes: &mut [watch::Receiver<u64>]) {
    let waits = changes.iter_mut().map(|change| {
        Box::pin(async {
            if change.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    });
    futures_util::future::select_all(waits).await;
}

#[cfg(test)]
#[path = "drive_tests.rs"]
mod tests;

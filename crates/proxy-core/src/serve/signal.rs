//! `Signal`: an event that many tasks wait for and that happens once.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Poll, Waker},
};

use tokio::{sync::Notify, task::unconstrained};

/// An event that happens once. A task that waits for it while it does other work pays a load per poll; a
/// `CancellationToken` takes two locks, which the connections of all threads would share.
#[derive(Debug, Default)]
pub(super) struct Signal {
    is_set: AtomicBool,
    notify: Notify,
}

impl Signal {
    /// Lets the event happen.
    pub(super) fn set(&self) {
        self.is_set.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    /// Whether the event has happened.
    pub(super) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    /// Runs a future until it ends or the event happens; returns `None` in the latter case.
    pub(super) async fn run_until_set<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut notified = pin!(self.notify.notified());
        let mut registered: Option<Waker> = None;
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            let is_registered = registered.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
            // Not with the task's budget: without it, the task would not be registered.
            let notified = pin!(unconstrained(notified.as_mut()));
            if !is_registered && notified.poll(context).is_pending() {
                registered = Some(context.waker().clone());
            }
            if self.is_set() { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::Arc};

    use super::*;

    #[tokio::test]
    async fn a_signal_ends_who_waits_for_it_now_or_later() {
        let signal = Arc::new(Signal::default());
        let waiting = tokio::spawn({
            let signal = signal.clone();
            async move { signal.run_until_set(pending::<()>()).await }
        });
        assert_eq!(signal.run_until_set(async { 1 }).await, Some(1));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        signal.set();
        assert_eq!(waiting.await.expect("a task"), None);
        assert_eq!(signal.run_until_set(pending::<()>()).await, None);
    }
}

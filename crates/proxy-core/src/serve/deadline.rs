//! `Deadline`: ends a connection on which nothing happens.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{
    task::unconstrained,
    time::{Instant, Sleep, sleep},
};

use super::connection_state::ConnectionHandle;

/// In how many steps a deadline is counted.
const STEPS: u32 = 4;

pin_project! {
    /// Resolves when a connection has been idle for the limit, or up to a quarter longer.
    ///
    /// A request costs no timer: the one timer looks at the connection four times per limit, and a request
    /// only leaves a mark there.
    pub(super) struct Deadline<'a> {
        #[pin]
        sleep: Sleep,
        step: Duration,
        idle_steps: u32,
        connection: &'a ConnectionHandle,
        // Who is woken by `sleep`.
        registered: Option<Waker>,
    }
}

impl<'a> Deadline<'a> {
    /// Starts a deadline.
    pub(super) fn new(limit: Duration, connection: &'a ConnectionHandle) -> Self {
        let step = (limit / STEPS).max(Duration::from_millis(1));
        Self { sleep: sleep(step), step, idle_steps: 0, connection, registered: None }
    }
}

impl Future for Deadline<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            let is_registered =
                this.registered.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
            if is_registered && !this.sleep.is_elapsed() {
                return Poll::Pending;
            }
            // Not with the task's budget: without it, the task would not be registered.
            if pin!(unconstrained(this.sleep.as_mut())).poll(context).is_pending() {
                *this.registered = Some(context.waker().clone());
                return Poll::Pending;
            }
            *this.idle_steps = if this.connection.take_activity() { 0 } else { *this.idle_steps + 1 };
            if *this.idle_steps >= STEPS {
                return Poll::Ready(());
            }
            this.sleep.as_mut().reset(Instant::now() + *this.step);
            *this.registered = None;
        }
    }
}

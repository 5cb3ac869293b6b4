//! How long a response may take to begin.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

use super::upload::UploadProgress;

/// The timer of all requests on one connection. Setting a timer for each request would cost more than the
/// rest of its wait, so this one runs out every second at most, whether a request waits or not; a request
/// that was waiting then gets a deadline of its own, up to a second late.
pub(super) struct ResponseTimer {
    limit: Duration,
    sleep: Pin<Box<Sleep>>,
    /// Set if the request that waits has been waiting when the timer ran out.
    deadline: Option<Instant>,
    /// How much of the upload had been received then.
    received: u64,
}

impl ResponseTimer {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, sleep: Box::pin(sleep(period(limit))), deadline: None, received: 0 }
    }

    /// Begins to wait for another response.
    pub(super) fn start(&mut self) {
        self.received = 0;
        if self.deadline.take().is_some() {
            self.sleep.as_mut().reset(Instant::now() + period(self.limit));
        }
    }

    /// Is ready if the response took too long: the limit has passed since the request was sent and since its
    /// upload progressed.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, upload: Option<&UploadProgress>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(context));
            let now = Instant::now();
            let received = upload.map_or(0, UploadProgress::frames);
            let has_progressed = received != std::mem::replace(&mut self.received, received);
            let deadline = match self.deadline {
                Some(deadline) if !has_progressed => deadline,
                _ => now + self.limit,
            };
            if deadline <= now {
                return Poll::Ready(());
            }
            self.deadline = Some(deadline);
            let is_uploading = upload.is_some();
            let next = if is_uploading { deadline.min(now + period(self.limit)) } else { deadline };
            self.sleep.as_mut().reset(next);
        }
    }
}

fn period(limit: Duration) -> Duration {
    Duration::from_secs(1).min(limit / 2)
}

//! A connection to an upstream, which whoever waits for its response drives: no task of its own, so that a
//! request costs no switch between tasks.

use std::{
    future::poll_fn,
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{self, Parts, SendRequest},
    },
};
use hyper_util::rt::TokioIo;

use super::{response_timer::ResponseTimer, upload::UploadProgress};
use crate::{body::Body, upstream_stream::UpstreamStream};

/// A connection that sends one request at a time. Dropping it closes it.
pub(super) struct Connection {
    sender: SendRequest<Body>,
    pub(super) driver: Driver,
    timer: ResponseTimer,
}

/// Why no response was received.
pub(super) enum SendError {
    Failed(Box<TrySendError<Request<Body>>>),
    TimedOut,
}

impl Connection {
    /// `header_timeout` is how long a response's head may take.
    pub(super) async fn new(stream: UpstreamStream, header_timeout: Duration) -> hyper::Result<Self> {
        let (sender, connection) = http1::Builder::new().handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, driver: Driver::new(connection), timer: ResponseTimer::new(header_timeout) })
    }

    /// Sends a request and waits for the head of its response.
    pub(super) async fn send(
        &mut self,
        request: Request<Body>,
        upload: Option<&UploadProgress>,
    ) -> Result<Response<Incoming>, SendError> {
        self.timer.start();
        let mut response = pin!(self.sender.try_send_request(request));
        self.driver.wake();
        poll_fn(|context| match self.driver.poll_with(context, |context| response.as_mut().poll(context)) {
            Poll::Ready(result) => Poll::Ready(result.map_err(|error| SendError::Failed(Box::new(error)))),
            Poll::Pending => self.timer.poll(context, upload).map(|()| Err(SendError::TimedOut)),
        })
        .await
    }

    /// Whether the last response was received to its end, and another request may follow.
    pub(super) fn is_idle(&self) -> bool {
        self.sender.is_ready() && !self.driver.has_ended()
    }

    /// Whether an idle connection is still open, as far as is known.
    pub(super) fn is_open(&mut self) -> bool {
        self.driver.advance();
        self.is_idle()
    }

    /// Waits until the connection is idle. Returns whether it may be used again.
    pub(super) async fn idle(&mut self) -> bool {
        let Self { sender, driver, .. } = self;
        // The readiness that is polled wakes nobody: only what the driver does changes it.
        driver.ended_or(|| sender.is_ready()).await;
        self.is_idle()
    }

    /// Waits for the end of HTTP on a connection whose protocol was switched. Returns the stream, and the
    /// bytes that were read from it already.
    pub(super) async fn into_stream(self) -> io::Result<(UpstreamStream, Bytes)> {
        let Self { sender, mut driver, .. } = self;
        drop(sender);
        driver.wake();
        driver.ended_or(|| false).await;
        match driver.state {
            State::Ended(Some(parts)) => Ok((parts.io.into_inner(), parts.read_buf)),
            _ => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

/// Polls hyper's part of a connection, when and only when something happened to it.
pub(super) struct Driver {
    state: State,
    wakeups: Arc<Wakeups>,
    /// Wakes `wakeups`. hyper is polled with it alone, so that what one part of the connection reports to
    /// another one within a poll does not have the task polled again.
    waker: Waker,
}

enum State {
    Running(Box<http1::Connection<TokioIo<UpstreamStream>, Body>>),
    /// With what is left of the connection, unless it failed.
    Ended(Option<Parts<TokioIo<UpstreamStream>>>),
}

/// What happens to a connection.
#[derive(Default)]
struct Wakeups {
    /// Whether the connection must be polled.
    woken: AtomicBool,
    /// The task to wake, while it waits.
    task: AtomicWaker,
}

impl Wake for Wakeups {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl Driver {
    fn new(connection: http1::Connection<TokioIo<UpstreamStream>, Body>) -> Self {
        let wakeups = Arc::new(Wakeups::default());
        let waker = wakeups.clone().into();
        Self { state: State::Running(Box::new(connection)), wakeups, waker }
    }

    /// Has the connection polled the next time.
    fn wake(&self) {
        self.wakeups.woken.store(true, Ordering::Release);
    }

    fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    /// Polls the connection if something happened to it.
    fn advance(&mut self) {
        let State::Running(connection) = &mut self.state else { return };
        if !self.wakeups.woken.swap(false, Ordering::AcqRel) {
            return;
        }
        let Poll::Ready(result) = connection.poll_without_shutdown(&mut Context::from_waker(&self.waker))
        else {
            return;
        };
        if let Err(error) = &result {
            tracing::debug!(%error, "connection to a session failed");
        }
        // Dropping hyper's part lets the request and the body know of the end.
        if let State::Running(connection) = std::mem::replace(&mut self.state, State::Ended(None)) {
            let parts = connection.into_parts();
            self.state = State::Ended(result.is_ok().then_some(parts));
        }
    }

    /// Drives the connection until `poll` is ready, which must depend on nothing but the connection. It gets
    /// a context that wakes the driver.
    pub(super) fn poll_with<T>(
        &mut self,
        context: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        // The task is not woken for what happens while it runs.
        self.wakeups.task.take();
        for _ in 0..2 {
            self.advance();
            if let Poll::Ready(value) = poll(&mut Context::from_waker(&self.waker)) {
                return Poll::Ready(value);
            }
            self.wakeups.task.register(context.waker());
            if !self.wakeups.woken.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            self.wakeups.task.take();
        }
        // hyper has more to do, but so may other tasks.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Drives the connection until it has ended or `is_done`.
    async fn ended_or(&mut self, is_done: impl Fn() -> bool) {
        poll_fn(|context| {
            if self.has_ended() || is_done() {
                return Poll::Ready(());
            }
            match self.poll_with(context, |_| if is_done() { Poll::Ready(()) } else { Poll::Pending }) {
                Poll::Pending if self.has_ended() => Poll::Ready(()),
                poll => poll,
            }
        })
        .await;
    }
}

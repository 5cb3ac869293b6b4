//! The state of connections: what all of them share, and what each is doing.

use std::{
    future::{Future, pending, poll_fn},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Poll,
};

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;

use super::{head_recorder::HeadRecorder, load::Load, settings::ServeSettings, signal::Signal};

/// What all connections of one [`crate::serve`] share.
#[derive(Debug)]
pub(super) struct Shared {
    /// How each of them is served.
    pub(super) settings: ServeSettings,
    /// Connections and tunnels.
    pub(super) tasks: TaskTracker,
    /// Whether clients shall open new connections for their next requests.
    pub(super) closing: AtomicBool,
    /// Set when connections shall end as soon as their requests have ended.
    pub(super) drain: Signal,
    /// Set when tunnels shall end.
    pub(super) end_tunnels: Signal,
    /// Set when connections shall end at once.
    pub(super) abort: Signal,
}

impl Shared {
    pub(super) fn new(settings: ServeSettings) -> Self {
        Self {
            settings,
            tasks: TaskTracker::new(),
            closing: AtomicBool::new(false),
            drain: Signal::default(),
            end_tunnels: Signal::default(),
            abort: Signal::default(),
        }
    }
}

/// Keeps a connection open: an extension of requests to upgrade, because tunnels outlive the connection's
/// task.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionHandle(Arc<ConnectionState>);

#[derive(Debug)]
struct ConnectionState {
    shared: Arc<Shared>,
    head: HeadRecorder,
    /// Whether the first request was received.
    request_received: AtomicBool,
    /// Whether the connection may have become a tunnel.
    is_tunnel: AtomicBool,
    /// Whether the client sends nothing after the request that was received last.
    is_last_request: AtomicBool,
    /// Whether something happened since the deadline's last look.
    active: AtomicBool,
    /// Whether a response is being made or sent (HTTP/1.1).
    responding: AtomicBool,
    /// Whether a request's body is being received (HTTP/1.1).
    receiving: AtomicBool,
    /// Counts against [`crate::ServeSettings::max_connections`] until the connection and its tunnels have
    /// ended.
    _permit: Option<OwnedSemaphorePermit>,
    _load: Option<Load>,
}

impl ConnectionHandle {
    pub(super) fn new(shared: Arc<Shared>, permit: Option<OwnedSemaphorePermit>, load: Option<Load>) -> Self {
        Self(Arc::new(ConnectionState {
            head: HeadRecorder::new(shared.settings.max_head),
            shared,
            request_received: AtomicBool::new(false),
            is_tunnel: AtomicBool::new(false),
            is_last_request: AtomicBool::new(false),
            active: AtomicBool::new(false),
            responding: AtomicBool::new(false),
            receiving: AtomicBool::new(false),
            _permit: permit,
            _load: load,
        }))
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    pub(super) fn head(&self) -> &HeadRecorder {
        &self.0.head
    }

    /// Whether clients shall open new connections for their next requests.
    pub(super) fn is_closing(&self) -> bool {
        self.0.shared.closing.load(Relaxed)
    }

    pub(super) fn set_request_received(&self) {
        self.0.request_received.store(true, Relaxed);
    }

    pub(super) fn is_request_received(&self) -> bool {
        self.0.request_received.load(Relaxed)
    }

    /// Notes that the connection may become a tunnel.
    pub(super) fn set_tunnel(&self) {
        self.0.is_tunnel.store(true, Relaxed);
    }

    pub(super) fn is_tunnel(&self) -> bool {
        self.0.is_tunnel.load(Relaxed)
    }

    /// Notes that the client sends nothing after the request that was received last.
    pub(super) fn set_last_request(&self) {
        self.0.is_last_request.store(true, Relaxed);
    }

    pub(super) fn is_last_request(&self) -> bool {
        self.0.is_last_request.load(Relaxed)
    }

    /// Waits for the first request. Only the connection's own task may wait: nothing else wakes it.
    pub(super) fn request_received(&self) -> impl Future<Output = ()> {
        poll_fn(|_| if self.is_request_received() { Poll::Ready(()) } else { Poll::Pending })
    }

    /// Notes that the connection is never idle: HTTP/2 has its own pings.
    pub(super) fn keep_open(&self) {
        self.0.responding.store(true, Relaxed);
    }

    /// Notes that something happened.
    pub(super) fn set_active(&self) {
        self.0.active.store(true, Relaxed);
    }

    /// Returns whether a request is in flight, or anything happened since the last call.
    pub(super) fn take_activity(&self) -> bool {
        let in_flight = self.0.responding.load(Relaxed) || self.0.receiving.load(Relaxed);
        // Not skipped if a request is in flight: what happened until now must not count later.
        self.0.active.swap(false, Relaxed) || in_flight
    }

    /// Notes that a response is being made, until the guard is dropped.
    pub(super) fn respond(&self) -> Responding {
        self.0.responding.store(true, Relaxed);
        Responding(self.clone())
    }

    /// Notes that the body of a request is being received, until the guard is dropped. The head of the next
    /// request follows it.
    pub(super) fn receive(&self) -> Receiving {
        self.0.receiving.store(true, Relaxed);
        Receiving(self.clone())
    }

    /// Spawns a task that the drain waits for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.shared.tasks.spawn(task);
    }

    /// Waits until tunnels shall end. Keeps the connection open until then.
    pub(crate) async fn end_of_tunnels(self) {
        self.0.shared.end_tunnels.run_until_set(pending::<()>()).await;
    }
}

/// A response of HTTP/1.1 that is not sent yet.
#[derive(Debug)]
pub(super) struct Responding(ConnectionHandle);

impl Responding {
    /// Whether the connection shall be closed after the response.
    pub(super) fn is_closing(&self) -> bool {
        self.0.is_closing()
    }
}

impl Drop for Responding {
    fn drop(&mut self) {
        self.0.set_active();
        self.0.0.responding.store(false, Relaxed);
    }
}

/// The body of a request of HTTP/1.1 that is not received yet.
#[derive(Debug)]
pub(super) struct Receiving(ConnectionHandle);

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.set_active();
        self.0.0.receiving.store(false, Relaxed);
        self.0.head().resume();
    }
}

//! The state of connections: what all of them share, and how long each is open.

use std::{
    future::{Future, poll_fn},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::workers::Load;

/// What all connections of one [`crate::serve`] share.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared {
    /// Connections and tunnels.
    pub(super) tasks: TaskTracker,
    /// Whether clients shall open new connections for their next requests.
    pub(super) closing: Arc<AtomicBool>,
    /// Cancelled when connections shall end as soon as their requests have ended.
    pub(super) drain: CancellationToken,
    /// Cancelled when tunnels shall end.
    pub(super) end_tunnels: CancellationToken,
    /// Cancelled when connections shall end at once.
    pub(super) abort: CancellationToken,
}

/// Keeps a connection open: an extension of requests to upgrade, because tunnels outlive the connection's
/// task.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionHandle(Arc<ConnectionState>);

#[derive(Debug)]
struct ConnectionState {
    shared: Shared,
    request_received: AtomicBool,
    /// Counts against [`crate::ServeSettings::max_connections`] until the connection and its tunnels have
    /// ended.
    _permit: Option<OwnedSemaphorePermit>,
    _load: Option<Load>,
}

impl ConnectionHandle {
    pub(super) fn new(shared: Shared, permit: Option<OwnedSemaphorePermit>, load: Option<Load>) -> Self {
        let request_received = AtomicBool::new(false);
        Self(Arc::new(ConnectionState { shared, request_received, _permit: permit, _load: load }))
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// Whether clients shall open new connections for their next requests.
    pub(super) fn is_closing(&self) -> bool {
        self.0.shared.closing.load(Ordering::Relaxed)
    }

    pub(super) fn set_request_received(&self) {
        self.0.request_received.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_request_received(&self) -> bool {
        self.0.request_received.load(Ordering::Relaxed)
    }

    /// Waits for the first request. Only the connection's own task may wait: nothing else wakes it.
    pub(super) fn request_received(&self) -> impl Future<Output = ()> {
        poll_fn(|_| if self.is_request_received() { Poll::Ready(()) } else { Poll::Pending })
    }

    /// Spawns a task that the drain waits for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.shared.tasks.spawn(task);
    }

    /// Waits until tunnels shall end. Keeps the connection open until then.
    pub(crate) async fn end_of_tunnels(self) {
        self.0.shared.end_tunnels.cancelled().await;
    }
}

//! The state of connections: what all of them share, and how long each is open.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What all connections of one [`crate::serve`] share.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared {
    /// Connections and tunnels.
    pub(super) tasks: TaskTracker,
    /// Cancelled when connections shall end as soon as their requests have ended.
    pub(super) drain: CancellationToken,
    /// Cancelled when connections and tunnels shall end at once.
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
}

impl ConnectionHandle {
    pub(super) fn new(shared: Shared, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self(Arc::new(ConnectionState { shared, request_received: AtomicBool::new(false), _permit: permit }))
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    pub(super) fn set_request_received(&self) {
        self.0.request_received.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_request_received(&self) -> bool {
        self.0.request_received.load(Ordering::Relaxed)
    }

    /// Spawns a task that the drain waits for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.shared.tasks.spawn(task);
    }

    /// Runs the task until it ends or the drain is over.
    pub(crate) async fn until_aborted(&self, task: impl Future<Output = ()>) {
        tokio::select! {
            () = task => {}
            () = self.0.shared.abort.cancelled() => {}
        }
    }
}

//! Ending a tunnel before its two sides do.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use parking_lot::Mutex;

type EndFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Ends a request's tunnel once a future resolves: an extension of requests, for embedders whose users may
/// lose their right to it. Without a tunnel, it does nothing.
#[derive(Clone)]
pub struct EndTunnelWhen(Arc<Mutex<Option<EndFuture>>>);

impl EndTunnelWhen {
    /// Ends the tunnel when `future` resolves.
    pub fn new(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::pin(future)))))
    }

    /// Takes the future out of the extension.
    pub(super) fn take(&self) -> Option<EndFuture> {
        self.0.lock().take()
    }
}

impl fmt::Debug for EndTunnelWhen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndTunnelWhen")
    }
}

/// Waits for the first of both; without an `end`, for the other.
pub(super) async fn either(end: Option<EndFuture>, other: impl Future<Output = ()>) {
    match end {
        None => other.await,
        Some(end) => tokio::select! {
            () = end => {}
            () = other => {}
        },
    }
}

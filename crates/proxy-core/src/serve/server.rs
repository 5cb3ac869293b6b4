//! What all connections of one listener share.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::FutureExt as _;
use http::{Request, Response};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinHandle, yield_now},
    time::{sleep, timeout},
};
use tower::Service;

use super::{
    connection,
    connection_state::{ConnectionHandle, Shared},
    listener::Listener,
    load::Load,
    settings::ServeSettings,
};
use crate::body::Body;

/// How long tunnels may take to notify their clients.
const END_TUNNELS: Duration = Duration::from_secs(1);

/// The state of one [`crate::serve`].
#[derive(Clone)]
pub(super) struct Server {
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
}

/// A connection that is not served yet.
pub(super) struct Accepted<T> {
    /// The stream, or the handshake that returns it.
    pub(super) connection: T,
    pub(super) peer: Option<SocketAddr>,
    /// Counts against [`ServeSettings::max_connections`].
    pub(super) permit: Option<OwnedSemaphorePermit>,
    /// Counts as a connection of its worker.
    pub(super) load: Option<Load>,
}

impl<T> Accepted<T> {
    pub(super) fn try_map<U>(self, map: impl FnOnce(T) -> io::Result<U>) -> io::Result<Accepted<U>> {
        let Self { connection, peer, permit, load } = self;
        Ok(Accepted { connection: map(connection)?, peer, permit, load })
    }
}

impl Server {
    pub(super) fn new(settings: ServeSettings) -> Self {
        let permits = Arc::new(Semaphore::new(settings.max_connections));
        Self { shared: Arc::new(Shared::new(settings)), permits }
    }

    /// Accepts the next connection, as soon as there may be one more.
    pub(super) async fn accept<L: Listener>(&self, listener: &mut L) -> io::Result<Accepted<L::Handshake>> {
        // The permit comes first: without one, connections stay in the kernel's queue.
        let permit = self.permits.clone().acquire_owned().await.ok();
        let (connection, peer) = listener.accept().await?;
        Ok(Accepted { connection, peer, permit, load: None })
    }

    /// Serves a connection in a task of its own.
    pub(super) fn spawn<H, Io, S>(&self, accepted: Accepted<H>, service: S) -> JoinHandle<()>
    where
        H: Future<Output = io::Result<Io>> + Send + 'static,
        Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
    {
        let Accepted { connection, peer, permit, load } = accepted;
        let handle = ConnectionHandle::new(self.shared.clone(), permit, load);
        // The connection's future contains and moves it several times.
        let service = Box::new(service);
        self.shared.tasks.spawn(connection::run(connection, peer, service, handle))
    }

    /// Waits for the shutdown, and for the delay in which it is only announced.
    pub(super) async fn announce(&self, shutdown: impl Future<Output = ()>) {
        shutdown.await;
        self.shared.closing.store(true, Ordering::Relaxed);
        sleep(self.shared.settings.shutdown_delay).await;
    }

    /// Accepts what is in the kernel's queue, which the kernel resets with the listener.
    pub(super) async fn accept_queued<L: Listener>(
        &self,
        listener: &mut L,
        mut spawn: impl FnMut(Accepted<L::Handshake>),
    ) {
        // tokio sees what has arrived after a yield.
        yield_now().await;
        while let Some(Ok(accepted)) = self.accept(listener).now_or_never() {
            spawn(accepted);
        }
    }

    /// Lets connections and tunnels end, and aborts them if they take too long. The listener must be closed.
    pub(super) async fn drain(&self) {
        self.shared.drain.set();
        self.shared.tasks.close();
        if timeout(self.shared.settings.drain, self.shared.tasks.wait()).await.is_ok() {
            return;
        }
        // First, because a tunnel that notifies its client needs the connection.
        self.shared.end_tunnels.set();
        if timeout(END_TUNNELS, self.shared.tasks.wait()).await.is_err() {
            self.shared.abort.set();
            self.shared.tasks.wait().await;
        }
    }
}

/// Waits a second, unless only this connection failed: if the process is out of file descriptors, the next
/// attempt would fail as well.
pub(super) async fn back_off(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::warn!(%error, "accepting a connection failed; retrying in a second");
        sleep(Duration::from_secs(1)).await;
    }
}

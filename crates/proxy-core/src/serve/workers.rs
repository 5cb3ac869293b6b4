//! `Workers`: serves on several threads, each with a runtime of its own.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, Ready, ready},
    io,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{Request, Response};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{self, Handle},
    sync::{mpsc, oneshot},
    task::JoinError,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tower::Service;

use super::{
    listener::ConfiguredListener,
    load::Load,
    server::{self, Accepted, Server},
    settings::ServeSettings,
};
use crate::body::Body;

/// Threads that serve connections, each with a current-thread runtime of its own: a request, its timers and
/// its connection to the upstream never leave their thread, so no two cores wait for each other.
///
/// A thread that has more connections than another gives the next one to that other, so that a few long-lived
/// connections do not meet on one core. Dropping this ends the threads, and with them what they still serve.
///
/// ```
/// use std::{num::NonZeroUsize, thread};
///
/// use http::Request;
/// use proxy_core::{Body, Forward, ServeSettings, Upstream, Workers};
/// use tokio::{net::TcpListener, sync::oneshot};
/// use tower::ServiceBuilder;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let workers = Workers::start(thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))?;
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let upstream = Upstream::new("127.0.0.1:4096".parse()?);
/// // Each thread gets a `Forward` of its own, and with it a pool.
/// let make_service = move |_worker| {
///     let upstream = upstream.clone();
///     let insert = move |mut request: Request<Body>| {
///         request.extensions_mut().insert(upstream.clone());
///         request
///     };
///     ServiceBuilder::new().map_request(insert).service(Forward::default())
/// };
/// let (stop, stopped) = oneshot::channel();
/// let serving = tokio::spawn(async move {
///     workers.serve(listener, make_service, ServeSettings::new(), async { drop(stopped.await) }).await
/// });
/// // …
/// drop(stop.send(()));
/// serving.await??;
/// # Ok(())
/// # }
/// ```
pub struct Workers {
    workers: Vec<Worker>,
}

struct Worker {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
    /// Dropped to end the thread.
    _stop: oneshot::Sender<Infallible>,
}

impl Workers {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system cannot start a thread, or has no file descriptors for its runtime.
    pub fn start(threads: NonZeroUsize) -> io::Result<Self> {
        let workers = (0..threads.get()).map(Worker::start).collect::<io::Result<_>>()?;
        Ok(Self { workers })
    }

    /// Does what [`crate::serve`] does, on all threads: one limit of connections, one drain.
    /// `make_service(worker)` runs once on each thread, numbered from 0; there it makes the service of that
    /// thread's connections, with a pool of its own (a new [`crate::Forward`]).
    ///
    /// # Errors
    /// The listener cannot be shared, for lack of file descriptors.
    ///
    /// # Panics
    /// Panics if `make_service` panics.
    pub async fn serve<M, S, F>(
        &self,
        listener: TcpListener,
        make_service: M,
        settings: ServeSettings,
        shutdown: F,
    ) -> io::Result<()>
    where
        M: Fn(usize) -> S + Send + Sync + 'static,
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        F: Future<Output = ()>,
    {
        let listener = listener.into_std()?;
        let server = Server::new(settings);
        let make_service = Arc::new(make_service);
        let stop = CancellationToken::new();
        // Unbounded: each connection in it has a permit.
        let (senders, receivers): (Vec<_>, Vec<_>) =
            self.workers.iter().map(|_| mpsc::unbounded_channel()).unzip();
        let peers: Arc<[Peer]> = (self.workers.iter().zip(senders))
            .map(|(worker, sender)| Peer { connections: worker.connections.clone(), sender })
            .collect();
        let mut accepting = FuturesUnordered::new();
        for (index, (worker, received)) in self.workers.iter().zip(receivers).enumerate() {
            let listener = listener.try_clone()?;
            let (server, stop, peers) = (server.clone(), stop.clone(), peers.clone());
            let make_service = make_service.clone();
            accepting.push(AbortOnDropHandle::new(worker.runtime.spawn(async move {
                let listener = ConfiguredListener::new(TcpListener::from_std(listener)?);
                let service = make_service(index);
                let acceptor = Acceptor { server, service, index, peers };
                acceptor.run(listener, received, &stop).await;
                Ok(())
            })));
        }
        drop((listener, peers));
        tokio::select! {
            () = server.announce(shutdown) => {}
            // Only a failure ends one before `stop`.
            Some(ended) = accepting.next() => result(ended)?,
        }
        stop.cancel();
        while let Some(ended) = accepting.next().await {
            result(ended)?;
        }
        server.drain().await;
        Ok(())
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("threads", &self.workers.len()).finish()
    }
}

impl Worker {
    fn start(index: usize) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        thread::Builder::new().name(format!("proxy-{index}")).spawn(move || runtime.block_on(stopped))?;
        Ok(Self { runtime: handle, connections: Arc::default(), _stop: stop })
    }
}

/// Passes on the panic of a worker's task.
fn result(ended: Result<io::Result<()>, JoinError>) -> io::Result<()> {
    match ended {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(io::Error::other(error)),
        },
    }
}

/// A connection that one worker accepted for another.
type HandedOver = Accepted<std::net::TcpStream>;

/// A worker, as the others see it.
struct Peer {
    connections: Arc<AtomicUsize>,
    sender: mpsc::UnboundedSender<HandedOver>,
}

impl Peer {
    fn load(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Accepts on one worker.
struct Acceptor<S> {
    server: Server,
    service: S,
    index: usize,
    peers: Arc<[Peer]>,
}

impl<S> Acceptor<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    async fn run(
        mut self,
        mut listener: ConfiguredListener,
        mut received: mpsc::UnboundedReceiver<HandedOver>,
        stop: &CancellationToken,
    ) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(connection) = received.recv() => {
                    self.take_over(connection);
                    continue;
                }
                accepted = self.server.accept(&mut listener) => accepted,
            };
            match accepted {
                Ok(accepted) => self.assign(accepted),
                Err(error) => tokio::select! {
                    () = stop.cancelled() => break,
                    () = server::back_off(&error) => {}
                },
            }
        }
        let server = self.server.clone();
        server.accept_queued(&mut listener, |accepted| self.assign(accepted)).await;
        drop(listener);
        received.close();
        while let Some(connection) = received.recv().await {
            self.take_over(connection);
        }
    }

    /// Serves a connection here, unless another worker has fewer: then that one serves it.
    fn assign(&mut self, mut accepted: Accepted<Ready<io::Result<TcpStream>>>) {
        let own = &self.peers[self.index];
        let target = self.peers.iter().min_by_key(|peer| peer.load()).filter(|peer| peer.load() < own.load());
        accepted.load = Some(Load::new(target.unwrap_or(own).connections.clone()));
        let Some(target) = target else {
            return drop(self.server.spawn(accepted, self.service.clone()));
        };
        // Leaves this runtime: the other one watches the stream.
        match accepted.try_map(|stream| stream.into_inner()?.into_std()) {
            Ok(connection) => {
                if let Err(unsent) = target.sender.send(connection) {
                    self.take_over(unsent.0);
                }
            }
            Err(error) => tracing::warn!(%error, "a connection could not be handed over"),
        }
    }

    /// Serves a connection that was accepted elsewhere.
    fn take_over(&mut self, connection: HandedOver) {
        match connection.try_map(|stream| TcpStream::from_std(stream).map(|stream| ready(Ok(stream)))) {
            Ok(connection) => drop(self.server.spawn(connection, self.service.clone())),
            Err(error) => tracing::warn!(%error, "a connection could not be served"),
        }
    }
}

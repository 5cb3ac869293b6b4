//! The accept loop.

mod head_recorder;

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Method, Request, Response, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_service::Service;

pub(crate) use self::head_recorder::NextHead;
use self::head_recorder::{HeadRecorder, RecordingStream};
use crate::{Body, PlainRefusals, Refusal, Refusals, ResponseFuture, future::WhenReady};

/// Who is at the other end of the connection: an extension of every request that [`serve`] hands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// Limits of [`serve`].
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// How long a client may take for a request's head, and to begin its first one (default 30 s).
    pub header_timeout: Duration,
    /// Longest head taken, in bytes (default 64 KiB, at least 8 KiB); longer is answered 431.
    pub max_head: usize,
    /// Connections at one time, tunnels included (default 16,384); further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// After the end was asked for: how long event streams, tunnels and requests may go on (default 10 s).
    pub drain: Duration,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            max_head: 64 * 1024,
            max_connections: 16_384,
            drain: Duration::from_secs(10),
        }
    }
}

/// Serves HTTP/1.1 and HTTP/2 (by prior knowledge) with upgrades, until `shutdown` resolves; then accepts no more, lets
/// what is under way end, cuts what has not ended after [`ServeSettings::drain`], and returns.
///
/// A failing connection is not an error, nor is one that can't be accepted: the loop goes on. What isn't HTTP, or has
/// two framings, is refused here with 400 and never reaches `service`.
pub async fn serve<S, F>(listener: TcpListener, service: S, settings: ServeSettings, shutdown: F)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    F: Future<Output = ()>,
{
    let shared = Shared::default();
    let permits = Arc::new(Semaphore::new(settings.max_connections));
    let mut shutdown = pin!(shutdown);
    loop {
        let accept = async {
            // A place first: who finds none stays in the kernel's queue.
            let place = permits.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let lifetime = ConnectionHandle::new(shared.clone(), place.ok());
                shared.tasks.spawn(connection(stream, peer, service.clone(), settings.clone(), lifetime));
            }
            Err(error) => tokio::select! {
                () = &mut shutdown => break,
                () = back_off(&error) => {}
            },
        }
    }
    drop(listener);
    shared.drain.cancel();
    shared.tasks.close();
    if timeout(settings.drain, shared.tasks.wait()).await.is_err() {
        shared.abort.cancel();
        shared.tasks.wait().await;
    }
}

/// A connection that broke before it was accepted is nothing; out of descriptors, the only cure is time.
async fn back_off(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::warn!(%error, "a connection could not be accepted; trying again in a second");
        sleep(Duration::from_secs(1)).await;
    }
}

async fn connection<S>(
    stream: TcpStream,
    peer: SocketAddr,
    service: S,
    settings: ServeSettings,
    lifetime: ConnectionHandle,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let _ = stream.set_nodelay(true);
    keep_alive(&stream);
    let max_head = settings.max_head.max(LEAST_HEAD);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_buf_size(max_head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(max_head).unwrap_or(u32::MAX))
        .max_concurrent_streams(256)
        .keep_alive_interval(Duration::from_secs(30))
        .enable_connect_protocol();

    let wire = HeadRecorder::new(max_head);
    let entry = ConnectionService { service, peer, lifetime: lifetime.clone(), wire: wire.clone() };
    let stream = RecordingStream { stream: TokioIo::new(stream), wire };
    let mut connection = pin!(builder.serve_connection_with_upgrades(stream, entry));
    let mut patience = pin!(sleep(settings.header_timeout));
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            end = connection.as_mut() => {
                if let Err(error) = end {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = &mut patience, if !lifetime.has_begun() && !patience.is_elapsed() => {
                if !lifetime.has_begun() {
                    return tracing::debug!("a connection was closed: no request came");
                }
            }
            // One signal at a time: each that is waited for is polled with the connection.
            () = if draining { &lifetime.0.shared.abort } else { &lifetime.0.shared.drain }.cancelled() => {
                if std::mem::replace(&mut draining, true) {
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The smallest buffer that hyper works with.
const LEAST_HEAD: usize = 8 * 1024;

/// Hands requests on, with the facts of their connection.
#[derive(Clone)]
struct ConnectionService<S> {
    service: S,
    peer: SocketAddr,
    lifetime: ConnectionHandle,
    wire: HeadRecorder,
}

impl<S> hyper::service::Service<Request<Incoming>> for ConnectionService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture<WhenReady<S>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.lifetime.0.begun.store(true, Ordering::Relaxed);
        let mut next_head = None;
        if request.version() >= Version::HTTP_2 {
            self.wire.ignore();
        } else if !self.wire.has_one_framing(&request) {
            let why = Refusal::Malformed("the request has both Content-Length and Transfer-Encoding\n");
            let parts = request.into_parts().0;
            return ResponseFuture::refused(PlainRefusals.refuse(&why, &parts));
        } else if !request.body().is_end_stream() {
            next_head = Some(NextHead(self.wire.clone()));
        }
        let mut request = request.map(|body| Body::received(body, next_head));
        request.extensions_mut().insert(PeerAddr(self.peer));
        if request.headers().contains_key(header::UPGRADE) || request.method() == Method::CONNECT {
            request.extensions_mut().insert(self.lifetime.clone());
        }
        ResponseFuture::passed(WhenReady::new(self.service.clone(), request))
    }
}

/// What all connections of one [`serve`] share.
#[derive(Debug, Clone, Default)]
struct Shared {
    tasks: TaskTracker,
    drain: CancellationToken,
    abort: CancellationToken,
}

/// A connection's life, as far as its tunnels must know it: they outlive the task that it began with.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionHandle(Arc<ConnectionState>);

#[derive(Debug)]
struct ConnectionState {
    shared: Shared,
    /// A request came.
    begun: AtomicBool,
    /// One of [`ServeSettings::max_connections`], for as long as anything of the connection is left.
    _place: Option<OwnedSemaphorePermit>,
}

impl ConnectionHandle {
    fn new(shared: Shared, place: Option<OwnedSemaphorePermit>) -> Self {
        Self(Arc::new(ConnectionState { shared, begun: AtomicBool::new(false), _place: place }))
    }

    fn has_begun(&self) -> bool {
        self.0.begun.load(Ordering::Relaxed)
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.shared.tasks.spawn(task);
    }

    /// Runs it until it ends, or is cut off at the end of the drain.
    pub(crate) async fn until_aborted(&self, task: impl Future<Output = ()>) {
        tokio::select! {
            () = task => {}
            () = self.0.shared.abort.cancelled() => {}
        }
    }
}

/// Finds out within minutes that the other end has vanished without a word, though nothing is to be sent: a laptop
/// that was closed, a node that was lost.
pub(crate) fn keep_alive(stream: &TcpStream) {
    let pace = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(20));
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&pace) {
        tracing::debug!(%error, "a connection has no keep-alive");
    }
}

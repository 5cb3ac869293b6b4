//! One connection: reads its requests and passes them to the service.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use http::{Request, Response};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tower::Service;

use super::{
    call::ConnectionService, connection_state::ConnectionHandle, deadline::Deadline,
    lingering::LingeringStream, stream::ServedStream,
};
use crate::body::Body;

/// How long a connection that was accepted just before the drain may take to send its first request.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);
/// The smallest buffer that hyper accepts.
const MIN_HEAD: usize = 8 * 1024;

/// HTTP/2 streams of a connection at the same time.
const MAX_STREAMS: u32 = 256;
/// How many bytes of an HTTP/2 stream wait for their reader, in each direction.
const STREAM_BUFFER: u32 = 64 * 1024;

/// Serves one connection until it ends, is drained or is aborted.
pub(super) async fn run<H, Io, S>(
    handshake: H,
    peer: Option<SocketAddr>,
    service: S,
    connection: ConnectionHandle,
) where
    H: Future<Output = io::Result<Io>>,
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let Some(stream) = finish(handshake, &connection).await else { return };
    let stream = LingeringStream::new(stream, connection.clone());
    let stream = TokioIo::new(ServedStream::new(stream, connection.clone()));
    let service = ConnectionService::new(service, peer, connection.clone());
    let mut served = http1::Builder::new()
        // `Deadline` does this for a whole connection; hyper's costs a timer for each head.
        .header_read_timeout(None)
        .max_buf_size(max_head(&connection))
        .serve_connection(stream, service)
        .with_upgrades();
    let end = http1::UpgradeableConnection::graceful_shutdown;
    let Some(Err(error)) = drive(Pin::new(&mut served), end, &connection).await else { return };
    match served.into_parts() {
        Some(parts) if error.is_parse_version_h2() => {
            let mut stream = parts.io;
            stream.inner_mut().unread(parts.read_buf);
            // Boxed: most connections speak HTTP/1.1, and need not be as large.
            Box::pin(run_http2(stream, parts.service, &connection)).await;
        }
        _ => tracing::debug!(%error, "connection failed"),
    }
}

/// Serves a connection whose client has sent the preface of HTTP/2.
async fn run_http2<Io, S>(
    stream: TokioIo<ServedStream<LingeringStream<Io>>>,
    service: ConnectionService<S>,
    connection: &ConnectionHandle,
) where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    connection.head().stop();
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(max_head(connection)).unwrap_or(u32::MAX))
        .max_concurrent_streams(MAX_STREAMS)
        // All streams together fit the connection's window, so an upload that its session does not read holds
        // up no other stream.
        .initial_stream_window_size(STREAM_BUFFER)
        .initial_connection_window_size(STREAM_BUFFER * MAX_STREAMS)
        .max_send_buf_size(STREAM_BUFFER as usize)
        .keep_alive_interval(Duration::from_secs(30))
        .enable_connect_protocol()
        .serve_connection(stream, service);
    let end = http2::Connection::graceful_shutdown;
    if let Some(Err(error)) = drive(pin!(served), end, connection).await {
        tracing::debug!(%error, "connection failed");
    }
}

fn max_head(connection: &ConnectionHandle) -> usize {
    connection.shared().settings.max_head.max(MIN_HEAD)
}

/// Waits for the handshake, unless it takes too long or the drain is over.
async fn finish<H, Io>(handshake: H, connection: &ConnectionHandle) -> Option<Io>
where
    H: Future<Output = io::Result<Io>>,
{
    let shared = connection.shared();
    let limited = timeout(shared.settings.header_timeout, handshake);
    match shared.abort.run_until_set(limited).await? {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => tracing::debug!(%error, "handshake failed"),
        Err(_) => tracing::debug!("connection closed; the handshake took too long"),
    }
    None
}

/// Runs hyper's connection until it ends, and returns its result, or `None` if it is ended from here: because
/// it is idle for too long, or at the end of the drain. `end` lets it end with its requests.
async fn drive<C: Future>(
    mut served: Pin<&mut C>,
    end: fn(Pin<&mut C>),
    connection: &ConnectionHandle,
) -> Option<C::Output> {
    let shared = connection.shared();
    let mut deadline = pin!(Deadline::new(shared.settings.header_timeout, connection));
    if let Some(ended) = shared.drain.run_until_set(until_idle(served.as_mut(), deadline.as_mut())).await {
        return ended;
    }
    if !connection.is_request_received() {
        // Its first request may be on the way, and hyper would not read it any more.
        let first_request = timeout(FIRST_REQUEST_GRACE, connection.request_received());
        let serving = shared.abort.run_until_set(until_idle(served.as_mut(), deadline.as_mut()));
        tokio::select! {
            biased;
            ended = serving => return ended.flatten(),
            _ = first_request => {}
        }
    }
    end(served.as_mut());
    shared.abort.run_until_set(until_idle(served, deadline)).await.flatten()
}

/// Runs hyper's connection until it ends, or is idle for too long.
async fn until_idle<C: Future>(
    mut served: Pin<&mut C>,
    mut deadline: Pin<&mut Deadline<'_>>,
) -> Option<C::Output> {
    poll_fn(|context| match served.as_mut().poll(context) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending => deadline.as_mut().poll(context).map(|()| {
            tracing::debug!("connection closed; it was idle");
            None
        }),
    })
    .await
}

//! One connection: reads its requests and passes them to the service.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep, timeout},
};
use tower::{Service, util::Oneshot};

use super::{
    connection_state::ConnectionHandle,
    head_recorder::{HeadRecorder, NextHead, RecordingStream},
    settings::ServeSettings,
};
use crate::{
    body::Body,
    peer_addr::PeerAddr,
    refusal::{Refusal, RefusalContext, Refusals},
    response_future::ResponseFuture,
};

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
    settings: ServeSettings,
    handle: ConnectionHandle,
) where
    H: Future<Output = io::Result<Io>>,
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let Some(stream) = finish(handshake, &settings, &handle).await else { return };
    let max_head = settings.max_head.max(MIN_HEAD);
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
        .max_concurrent_streams(MAX_STREAMS)
        // All streams together fit the connection's window, so an upload that its session does not read holds
        // up no other stream.
        .initial_stream_window_size(STREAM_BUFFER)
        .initial_connection_window_size(STREAM_BUFFER * MAX_STREAMS)
        .max_send_buf_size(STREAM_BUFFER as usize)
        .keep_alive_interval(Duration::from_secs(30))
        .enable_connect_protocol();

    let recorder = HeadRecorder::new(max_head);
    let service = ConnectionService {
        service,
        peer,
        handle: handle.clone(),
        recorder: recorder.clone(),
        refusals: settings.refusals,
    };
    let stream = TokioIo::new(RecordingStream { stream, recorder });
    let mut connection = pin!(builder.serve_connection_with_upgrades(stream, service));
    let mut first_request_timeout = pin!(sleep(settings.header_timeout));
    let shared = handle.shared();
    let mut phase = Phase::Open;
    loop {
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection failed");
                }
                return;
            }
            () = handle.request_received(), if phase == Phase::Unused => {
                phase = Phase::Draining;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut first_request_timeout,
                if !handle.is_request_received() && !first_request_timeout.is_elapsed() =>
            {
                if phase == Phase::Unused {
                    phase = Phase::Draining;
                    connection.as_mut().graceful_shutdown();
                } else if !handle.is_request_received() {
                    return tracing::debug!("connection closed; no request received");
                }
            }
            // Only one signal at a time: each is polled whenever the connection is.
            () = if phase == Phase::Open { &shared.drain } else { &shared.abort }.cancelled() => {
                if phase != Phase::Open {
                    return;
                }
                if handle.is_request_received() {
                    phase = Phase::Draining;
                    connection.as_mut().graceful_shutdown();
                } else {
                    // Its first request may be on the way, and hyper would not read it any more.
                    phase = Phase::Unused;
                    let end = Instant::now() + FIRST_REQUEST_GRACE;
                    let deadline = first_request_timeout.deadline().min(end);
                    first_request_timeout.as_mut().reset(deadline);
                }
            }
        }
    }
}

/// Waits for the handshake, unless it takes too long or the drain is over.
async fn finish<H, Io>(handshake: H, settings: &ServeSettings, handle: &ConnectionHandle) -> Option<Io>
where
    H: Future<Output = io::Result<Io>>,
{
    let limited = timeout(settings.header_timeout, handshake);
    match handle.shared().abort.run_until_cancelled(limited).await? {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => tracing::debug!(%error, "handshake failed"),
        Err(_) => tracing::debug!("connection closed; the handshake took too long"),
    }
    None
}

/// How far the end of a connection has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It accepts requests.
    Open,
    /// It ends after its first request, which has not arrived yet.
    Unused,
    /// It ends when its requests have.
    Draining,
}

/// Passes requests to the service, with extensions that describe their connection.
#[derive(Clone)]
struct ConnectionService<S> {
    service: S,
    peer: Option<SocketAddr>,
    handle: ConnectionHandle,
    recorder: HeadRecorder,
    refusals: Arc<dyn Refusals>,
}

impl<S> hyper::service::Service<Request<Incoming>> for ConnectionService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture<Oneshot<S, Request<Body>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.handle.set_request_received();
        let mut next_head = None;
        let closes = self.handle.is_closing() && request.version() < Version::HTTP_2;
        if request.version() >= Version::HTTP_2 {
            self.recorder.stop();
        } else if !self.recorder.has_one_framing(&request) {
            let refusal = Refusal::Malformed("the request has both Content-Length and Transfer-Encoding\n");
            let context = RefusalContext::from(&request);
            return ResponseFuture::refused(self.refusals.refuse(&refusal, &context));
        } else if !request.body().is_end_stream() {
            next_head = Some(NextHead(self.recorder.clone()));
        }
        let mut request = request.map(|body| match next_head {
            Some(next_head) => Body::received(body, move || drop(next_head)),
            None => body.into(),
        });
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(PeerAddr(peer));
        }
        if request.headers().contains_key(header::UPGRADE) || request.method() == Method::CONNECT {
            request.extensions_mut().insert(self.handle.clone());
        }
        let response = Oneshot::new(self.service.clone(), request);
        if closes {
            ResponseFuture::held(Box::pin(closing(response)))
        } else {
            ResponseFuture::called(response)
        }
    }
}

/// Closes the connection after the response, and says so in it. (hyper itself says it in the drain.)
async fn closing<F>(response: F) -> Result<Response<Body>, Infallible>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    let mut response = response.await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

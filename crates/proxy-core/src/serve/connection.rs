//! One connection: reads its requests and passes them to the service.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use http::{Method, Request, Response, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{net::TcpStream, time::sleep};
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
    tcp,
};

/// The smallest buffer that hyper accepts.
const MIN_HEAD: usize = 8 * 1024;

/// Serves one connection until it ends, is drained or is aborted.
pub(super) async fn run<S>(
    stream: TcpStream,
    peer: SocketAddr,
    service: S,
    settings: ServeSettings,
    handle: ConnectionHandle,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    tcp::configure(&stream);
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
        .max_concurrent_streams(256)
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
    let stream = RecordingStream { stream: TokioIo::new(stream), recorder };
    let mut connection = pin!(builder.serve_connection_with_upgrades(stream, service));
    let mut first_request_timeout = pin!(sleep(settings.header_timeout));
    let shared = handle.shared();
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection failed");
                }
                return;
            }
            () = &mut first_request_timeout,
                if !handle.is_request_received() && !first_request_timeout.is_elapsed() =>
            {
                if !handle.is_request_received() {
                    return tracing::debug!("connection closed; no request received");
                }
            }
            // Only one signal at a time: each is polled whenever the connection is.
            () = if draining { &shared.abort } else { &shared.drain }.cancelled() => {
                if std::mem::replace(&mut draining, true) {
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Passes requests to the service, with extensions that describe their connection.
#[derive(Clone)]
struct ConnectionService<S> {
    service: S,
    peer: SocketAddr,
    handle: ConnectionHandle,
    recorder: HeadRecorder,
    refusals: Arc<dyn Refusals>,
}

impl<S> hyper::service::Service<Request<Incoming>> for ConnectionService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture<Oneshot<S, Request<Body>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.handle.set_request_received();
        let mut next_head = None;
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
        request.extensions_mut().insert(PeerAddr(self.peer));
        if request.headers().contains_key(header::UPGRADE) || request.method() == Method::CONNECT {
            request.extensions_mut().insert(self.handle.clone());
        }
        ResponseFuture::called(Oneshot::new(self.service.clone(), request))
    }
}

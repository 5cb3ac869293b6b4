//! A proxy in front of one session's server, both on loopback and in this process.

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header, request};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use proxy_core::*;
use session_key::{HostScheme, Identity, SessionRoute, Target};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tower::{ServiceBuilder, service_fn};

pub(crate) const HASH: &str = "a48da0606867";
pub(crate) const HOST: &str = "a48da0606867-oc.example.org";
/// A session's response to any request.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// Long enough for a busy machine. A passing test never waits this long.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Waits for `future`, and panics if it takes too long.
pub(crate) async fn within<F: Future>(event: &str, future: F) -> F::Output {
    timeout(TIMEOUT, future).await.unwrap_or_else(|_| panic!("timed out waiting for {event}"))
}

/// Resolves alice's one session, and records its activity.
#[derive(Clone)]
pub(crate) struct TestSession {
    upstream: SocketAddr,
    activities: Arc<Mutex<Vec<Activity>>>,
    /// If set, the session is not resolved.
    pub(crate) error: Arc<Mutex<Option<ResolveError>>>,
}

impl Resolver for TestSession {
    fn resolve(&self, route: &SessionRoute, identity: &Identity) -> Result<Upstream, ResolveError> {
        let exists = route.hash.to_string() == HASH && route.target != Target::Attach;
        if !exists || identity.email() != "alice@example.com" {
            return Err(ResolveError::NotFound);
        }
        match *self.error.lock() {
            Some(error) => Err(error),
            None if route.target == Target::Opencode => Ok(Upstream::new(self.upstream)
                .with_authorization(Some(HeaderValue::from_static("Basic b3BlbmNvZGU6cHc=")))),
            None => Ok(Upstream::new(self.upstream).with_host(HostPolicy::Localhost)),
        }
    }
}

impl RecordActivity for TestSession {
    fn touch(&self, _: &SessionRoute, activity: Activity) {
        self.activities.lock().push(activity);
    }
}

/// No stream can be resumed.
struct NoLogs;

impl EventLogs for NoLogs {
    fn find(&self, _: &RequestHead<'_>) -> Option<Arc<dyn EventLog>> {
        None
    }
}

/// The whole stack on a socket. The user is in `X-Auth-Request-Email`, which is trusted from loopback.
pub(crate) struct TestProxy {
    pub(crate) address: SocketAddr,
    pub(crate) session: TestSession,
    shutdown: Option<oneshot::Sender<()>>,
    pub(crate) server: JoinHandle<()>,
}

impl TestProxy {
    /// Starts a proxy for the session's server at `upstream`.
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        Self::start_with(upstream, ForwardSettings::default(), ServeSettings::default()).await
    }

    pub(crate) async fn start_with(
        upstream: SocketAddr,
        forward: ForwardSettings,
        settings: ServeSettings,
    ) -> Self {
        Self::serve(upstream, forward, settings, Arc::new(NoLogs)).await
    }

    /// Starts a proxy for a session whose connections the test accepts, and whose streams have these logs.
    pub(crate) async fn with_logs(logs: Arc<dyn EventLogs>) -> (Self, TcpListener) {
        let listener = listen().await;
        let upstream = listener.local_addr().unwrap();
        let proxy = Self::serve(upstream, ForwardSettings::default(), ServeSettings::default(), logs).await;
        (proxy, listener)
    }

    async fn serve(
        upstream: SocketAddr,
        forward: ForwardSettings,
        settings: ServeSettings,
        logs: Arc<dyn EventLogs>,
    ) -> Self {
        let session = TestSession { upstream, activities: Arc::default(), error: Arc::default() };
        let listener = listen().await;
        let address = listener.local_addr().unwrap();
        let (shutdown, on_shutdown) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, stack(session.clone(), forward, logs), settings, async {
            let _ = on_shutdown.await;
        }));
        Self { address, session, shutdown: Some(shutdown), server }
    }

    /// Starts a proxy for a session whose connections the test accepts.
    pub(crate) async fn with_listener() -> (Self, TcpListener) {
        let listener = listen().await;
        (Self::start(listener.local_addr().unwrap()).await, listener)
    }

    /// Starts a proxy for a session that sends `response` to every request.
    pub(crate) async fn with_response(response: &'static str) -> Self {
        Self::start(raw_session(response).await.0).await
    }

    pub(crate) fn shut_down(&mut self) {
        drop(self.shutdown.take());
    }

    pub(crate) fn activities(&self) -> Vec<Activity> {
        self.session.activities.lock().clone()
    }

    /// Sends one request on a new connection.
    pub(crate) async fn send<B>(&self, request: Request<B>) -> Response<Incoming>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        send_to(self.address, request).await
    }

    /// Sends one request in the background.
    pub(crate) fn spawn_send<B>(&self, request: Request<B>) -> JoinHandle<Response<Incoming>>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        tokio::spawn(send_to(self.address, request))
    }

    pub(crate) async fn get(&self, path: &str) -> Response<Incoming> {
        self.send(get(path)).await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Opens a connection that speaks HTTP/2.
    pub(crate) async fn connect_http2(&self) -> http2::SendRequest<Body> {
        let io = TokioIo::new(self.connect().await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Sends these bytes, and returns all that is received until the connection closes.
    pub(crate) async fn send_raw(&self, bytes: &str) -> String {
        let mut stream = self.connect().await;
        let _ = stream.write_all(bytes.as_bytes()).await;
        let mut received = Vec::new();
        let _ = within("the connection's end", stream.read_to_end(&mut received)).await;
        String::from_utf8_lossy(&received).into_owned()
    }

    /// Opens a tunnel through the proxy. Returns the client's end and the session's.
    pub(crate) async fn tunnel(&self, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let mut client = self.connect().await;
        let upgrade = head("GET /", "Connection: upgrade\r\nUpgrade: x\r\n");
        client.write_all(upgrade.as_bytes()).await.unwrap();
        let (mut session, _) = accept_request(listener).await;
        let response = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        session.write_all(response.as_bytes()).await.unwrap();
        read_head(&mut client).await.unwrap();
        (client, session)
    }
}

fn stack(
    session: TestSession,
    forward: ForwardSettings,
    logs: Arc<dyn EventLogs>,
) -> impl tower::Service<
    Request<Body>,
    Response = Response<Body>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Body>, Infallible>> + Send,
> + Clone
+ Send
+ 'static {
    let session = Arc::new(session);
    let trusted = TrustedHeaders::from_peers(vec!["127.0.0.0/8".parse().unwrap()]);
    let session = ServiceBuilder::new()
        .layer(IdentifyLayer::new(Arc::new(trusted)))
        .layer(SameOriginLayer::new())
        .layer(ResolveLayer::new(session.clone()))
        .layer(TrackActivityLayer::new(session))
        .layer(ReplayEventsLayer::new(logs))
        .service(Forward::new(forward));
    let site =
        service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::from("the site"))) });
    HostRouter::new(Arc::new(HostScheme::new("example.org", "-oc", "attach-").unwrap()), session, site)
}

pub(crate) async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Returns the address of a closed port.
pub(crate) async fn closed_port() -> SocketAddr {
    listen().await.local_addr().unwrap()
}

/// Returns the head of alice's request to her session. `lines` are further headers.
pub(crate) fn head(method_and_path: &str, lines: &str) -> String {
    format!(
        "{method_and_path} HTTP/1.1\r\nHost: {HOST}\r\nX-Auth-Request-Email: alice@example.com\r\n{lines}\r\n"
    )
}

pub(crate) fn get(path: &str) -> Request<Empty<Bytes>> {
    request("GET", path).body(Empty::new()).unwrap()
}

/// Builds alice's request to her session.
pub(crate) fn request(method: &str, path: &str) -> request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, HOST)
        .header("x-auth-request-email", "alice@example.com")
}

/// Builds alice's request to her session over HTTP/2, which has no `Host`.
pub(crate) fn http2_request(method: &str, path: &str) -> request::Builder {
    Request::builder()
        .method(method)
        .uri(format!("https://{HOST}{path}"))
        .header("x-auth-request-email", "alice@example.com")
}

pub(crate) async fn send_to<B>(address: SocketAddr, request: Request<B>) -> Response<Incoming>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.expect("a handshake sends nothing");
    tokio::spawn(connection.with_upgrades());
    let request = request.map(|body| Body::new(body));
    within("a response", sender.send_request(request)).await.unwrap()
}

pub(crate) async fn text(response: Response<Incoming>) -> String {
    let body = within("the body's end", response.into_body().collect()).await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

/// Starts a session's server that handles requests with `handler`.
pub(crate) async fn session<H, F>(handler: H) -> SocketAddr
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let handler = handler.clone();
            let service = hyper::service::service_fn(move |request| {
                let response = handler(request);
                async move { Ok::<_, Infallible>(response.await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .half_close(true)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::spawn(connection);
        }
    });
    address
}

/// Starts a session's server that sends back each request's body.
pub(crate) async fn echo_session() -> SocketAddr {
    session(|request| async { Response::new(Body::new(request.into_body())) }).await
}

/// Starts a session's server that sends these bytes to every request. Returns the heads that it receives.
pub(crate) async fn raw_session(response: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (heads, received) = mpsc::unbounded_channel();
    let address = serve_connections(move |mut stream| {
        let heads = heads.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                let _ = heads.send(head);
                if stream.write_all(response.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (address, received)
}

/// Starts a session's server that handles each connection with `handler`.
pub(crate) async fn serve_connections<H, F>(handler: H) -> SocketAddr
where
    H: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handler(stream));
        }
    });
    address
}

/// Accepts a connection to the session and reads the head of its first request.
pub(crate) async fn accept_request(listener: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = within("a connection", listener.accept()).await.unwrap();
    let head = within("a request", read_head(&mut stream)).await.unwrap();
    (stream, head)
}

/// Accepts a connection to the session and answers its first request with [`OK`].
pub(crate) async fn accept_and_answer(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = accept_request(listener).await;
    stream.write_all(OK.as_bytes()).await.unwrap();
    stream
}

/// Reads a head up to its empty line. Returns `None` at the connection's end.
pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

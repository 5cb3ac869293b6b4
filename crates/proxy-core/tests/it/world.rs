//! A proxy in front of one session's server, both on loopback, both of this process.

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use proxy_core::*;
use session_key::{HostScheme, Identity, SessionHash, SessionRoute, Target};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tower::{ServiceBuilder, service_fn};

pub(crate) const HASH: &str = "a48da0606867";
pub(crate) const HOST: &str = "a48da0606867-oc.example.org";
/// Long enough for a busy machine; nothing waits it out when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What a test does with one connection to the session's server.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

#[derive(Clone)]
pub(crate) struct Sessions {
    pub(crate) upstream: SocketAddr,
    pub(crate) touches: Arc<Mutex<Vec<Activity>>>,
    pub(crate) state: Arc<Mutex<Option<ResolveError>>>,
}

impl Resolver for Sessions {
    fn resolve(&self, route: &SessionRoute, who: &Identity) -> Result<Upstream, ResolveError> {
        if route.hash.to_string() != HASH
            || who.email() != "alice@example.com"
            || route.target == Target::Attach
        {
            return Err(ResolveError::NotFound);
        }
        match *self.state.lock() {
            Some(why) => Err(why),
            None => Ok(Upstream {
                address: self.upstream,
                authorization: Some(HeaderValue::from_static("Basic b3BlbmNvZGU6cHc=")),
            }),
        }
    }
}

impl RecordActivity for Sessions {
    fn touch(&self, _: SessionHash, what: Activity) {
        self.touches.lock().push(what);
    }
}

pub(crate) struct World {
    pub(crate) proxy: SocketAddr,
    pub(crate) sessions: Sessions,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) server: JoinHandle<()>,
}

impl World {
    /// A proxy before the server at `upstream`.
    pub(crate) async fn before(upstream: SocketAddr) -> Self {
        Self::with(upstream, ForwardSettings::default(), ServeSettings::default()).await
    }

    pub(crate) async fn with(
        upstream: SocketAddr,
        forward: ForwardSettings,
        settings: ServeSettings,
    ) -> Self {
        let sessions = Sessions { upstream, touches: Arc::default(), state: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, stack(sessions.clone(), forward), settings, async {
            let _ = stopped.await;
        }));
        Self { proxy, sessions, stop: Some(stop), server }
    }

    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) fn touches(&self) -> Vec<Activity> {
        self.sessions.touches.lock().clone()
    }

    /// Sends one request on a connection of its own.
    pub(crate) async fn send<B>(&self, request: Request<B>) -> Response<Incoming>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        send_to(self.proxy, request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Response<Incoming> {
        self.send(get(path)).await
    }

    /// Sends bytes as they are, and gives all that comes back until the connection closes.
    pub(crate) async fn raw(&self, bytes: &str) -> String {
        let mut stream = TcpStream::connect(self.proxy).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = within("the connection's end", stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A tunnel through the proxy: the client's end, and the server's.
    pub(crate) async fn tunnel(&self, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let mut client = TcpStream::connect(self.proxy).await.unwrap();
        let head = format!(
            "GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Auth-Request-Email: alice@example.com\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await.unwrap();
        let (mut server, _) = within("a connection", listener.accept()).await.unwrap();
        read_head(&mut server).await.unwrap();
        server
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
            .await
            .unwrap();
        read_head(&mut client).await.unwrap();
        (client, server)
    }
}

/// The whole stack; the user is in `X-Auth-Request-Email`, believed from loopback.
pub(crate) fn stack(
    sessions: Sessions,
    forward: ForwardSettings,
) -> impl tower::Service<
    Request<Body>,
    Response = Response<Body>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Body>, Infallible>> + Send,
> + Clone
+ Send
+ 'static {
    let sessions = Arc::new(sessions);
    let trusted = TrustedHeaders::from_peers(vec!["127.0.0.0/8".parse().unwrap()]);
    let session = ServiceBuilder::new()
        .layer(IdentifyLayer::new(Arc::new(trusted)))
        .layer(SameOriginLayer::new())
        .layer(ResolveLayer::new(sessions.clone()))
        .layer(TrackActivityLayer::new(sessions))
        .service(Forward::new(forward));
    let site =
        service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::from("the site"))) });
    HostRouter::new(Arc::new(HostScheme::new("example.org", "-oc", "attach-").unwrap()), session, site)
}

pub(crate) fn get(path: &str) -> Request<Empty<Bytes>> {
    request("GET", path).body(Empty::new()).unwrap()
}

/// A request of alice's to her session.
pub(crate) fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, HOST)
        .header("x-auth-request-email", "alice@example.com")
}

pub(crate) async fn send_to<B>(to: SocketAddr, request: Request<B>) -> Response<Incoming>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.expect("a handshake sends nothing");
    tokio::spawn(connection.with_upgrades());
    let body = request.map(|body| Body::new(body));
    within("a response", sender.send_request(body)).await.unwrap()
}

pub(crate) async fn text(response: Response<Incoming>) -> String {
    let body = within("the body's end", response.into_body().collect()).await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

/// A server of one function, for as many connections as come.
pub(crate) async fn upstream<H, F>(handler: H) -> SocketAddr
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
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

/// A server that shows each request's head as it came, and answers with these bytes.
pub(crate) async fn raw_upstream(
    answer: &'static str,
) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, heads) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                while let Some(head) = read_head(&mut stream).await {
                    let _ = tell.send(head);
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, heads)
}

/// Reads up to the empty line; `None` at the connection's end.
pub(crate) async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

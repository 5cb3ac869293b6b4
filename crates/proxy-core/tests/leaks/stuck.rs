//! Streams through the proxy whose receiver never reads.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proxy_core::{Body, BodyError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::sleep,
};

use crate::proxy::{HOST, Upstreams};

static PIECE: [u8; 64 * 1024] = [b'~'; 64 * 1024];

/// A direction of bytes, and which protocol the client speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Download,
    Upload,
    Tunnel,
    Http2Download,
    Http2Upload,
}

/// How many bytes of memory a stream may hold that is stuck. This process is client and session too, so their
/// parts count.
pub(crate) const KINDS: [(Kind, usize); 5] = [
    (Kind::Download, 1536 << 10),
    (Kind::Upload, 1536 << 10),
    (Kind::Tunnel, 64 << 10),
    (Kind::Http2Download, 512 << 10),
    (Kind::Http2Upload, 1024 << 10),
];

/// Clients that send as much as they can and read nothing.
#[derive(Default)]
pub(crate) struct Clients {
    tasks: JoinSet<()>,
    responses: Vec<Response<Incoming>>,
    sent: Arc<AtomicUsize>,
}

impl Kind {
    /// Opens so many streams.
    pub(crate) async fn open(self, proxy: SocketAddr, count: usize) -> Result<Clients, BodyError> {
        let mut clients = Clients::default();
        match self {
            Self::Download | Self::Upload | Self::Tunnel => {
                let head = match self {
                    Self::Download => head("GET", ""),
                    Self::Upload => head("POST", "Content-Length: 9999999999\r\n"),
                    _ => head("GET", "Connection: upgrade\r\nUpgrade: x\r\n"),
                };
                for _ in 0..count {
                    let mut stream = TcpStream::connect(proxy).await?;
                    stream.write_all(head.as_bytes()).await?;
                    let sent = clients.sent.clone();
                    clients.tasks.spawn(async move {
                        if matches!(self, Self::Tunnel) {
                            read_head(&mut stream).await;
                        }
                        if matches!(self, Self::Download) {
                            std::future::pending::<()>().await;
                        }
                        fill(&mut stream, &sent).await;
                    });
                }
            }
            Self::Http2Download | Self::Http2Upload => {
                let io = TokioIo::new(TcpStream::connect(proxy).await?);
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.initial_stream_window_size(64 * 1024);
                builder.initial_connection_window_size(u32::try_from(count)? * 64 * 1024);
                builder.max_send_buf_size(64 * 1024);
                let (mut sender, connection) = builder.handshake(io).await?;
                clients.tasks.spawn(async move { drop(connection.await) });
                for _ in 0..count {
                    if matches!(self, Self::Http2Download) {
                        clients.responses.push(sender.send_request(request("GET", Body::empty())).await?);
                    } else {
                        let sent = clients.sent.clone();
                        let pieces = stream::repeat_with(move || {
                            sent.fetch_add(PIECE.len(), Ordering::Relaxed);
                            Ok::<_, BodyError>(Frame::data(Bytes::from_static(&PIECE)))
                        });
                        let response =
                            sender.send_request(request("POST", Body::new(StreamBody::new(pieces))));
                        clients.tasks.spawn(async move { drop(response.await) });
                    }
                }
            }
        }
        Ok(clients)
    }
}

fn head(method: &str, lines: &str) -> String {
    format!("{method} / HTTP/1.1\r\nHost: {HOST}\r\nX-Auth-Request-Email: alice@example.com\r\n{lines}\r\n")
}

fn request(method: &str, body: Body) -> Request<Body> {
    let request = Request::builder().method(method).uri(format!("https://{HOST}/"));
    request.header("x-auth-request-email", "alice@example.com").body(body).expect("it is valid")
}

/// A session's server that sends as much as it can and reads nothing.
pub(crate) struct Session {
    address: SocketAddr,
    sent: Arc<AtomicUsize>,
    released: Arc<Notify>,
}

impl Session {
    pub(crate) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let sent = Arc::<AtomicUsize>::default();
        let released = Arc::<Notify>::default();
        let session = Self { address, sent: sent.clone(), released: released.clone() };
        let count = sent;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (count, released) = (count.clone(), released.clone());
                tokio::spawn(async move {
                    let head = read_head(&mut stream).await;
                    if head.starts_with("POST") {
                        // The proxy reads no more of the upload, so it cannot see that the client left.
                        return released.notified().await;
                    }
                    let response = if head.to_lowercase().contains("upgrade: x") {
                        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
                    } else {
                        "HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n"
                    };
                    let _ = stream.write_all(response.as_bytes()).await;
                    fill(&mut stream, &count).await;
                });
            }
        });
        Ok(session)
    }

    pub(crate) fn upstreams(&self) -> Upstreams {
        let address = self.address;
        Upstreams { session: address, careless: address, closed: address, full: address }
    }

    /// Ends the uploads.
    pub(crate) fn release(&self) {
        self.released.notify_waiters();
    }

    /// Returns how many bytes both sides have sent.
    pub(crate) fn passed(&self, clients: &Clients) -> usize {
        self.sent.load(Ordering::Relaxed) + clients.sent.load(Ordering::Relaxed)
    }

    /// Waits until nobody has sent anything for a while.
    pub(crate) async fn wait_until_stuck(&self, clients: &Clients) {
        let mut last = (0, 0);
        while last.1 < 10 {
            sleep(Duration::from_millis(50)).await;
            let passed = self.passed(clients);
            last = if passed == last.0 { (passed, last.1 + 1) } else { (passed, 0) };
        }
    }
}

async fn fill(stream: &mut TcpStream, sent: &AtomicUsize) {
    while let Ok(written @ 1..) = stream.write(&PIECE).await {
        sent.fetch_add(written, Ordering::Relaxed);
    }
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { break };
        head.push(byte);
    }
    String::from_utf8_lossy(&head).into_owned()
}

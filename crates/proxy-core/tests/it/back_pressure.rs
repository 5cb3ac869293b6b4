//! A sender that is faster than its receiver is held up, in every direction; one that is stuck holds nobody
//! else up.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use proxy_core::{Body, BodyError};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

use crate::test_proxy::*;

/// More than all sockets on the way can hold.
const LIMIT: usize = 64 << 20;
/// What is sent at once. No head and no chunk's size contains this byte.
static PIECE: [u8; 64 * 1024] = [b'~'; 64 * 1024];
/// A write that takes longer is held up. On a busy machine a write may be taken for one that is: then the
/// test sends less, and still checks that all of it arrives.
const HELD_UP: Duration = Duration::from_millis(500);

/// Sends until a write is held up, and returns the number of bytes. At most [`LIMIT`] bytes are sent.
async fn fill(stream: &mut (impl AsyncWrite + Unpin)) -> usize {
    let mut sent = 0;
    while sent < LIMIT {
        match timeout(HELD_UP, stream.write(&PIECE)).await {
            Ok(written) => sent += written.unwrap(),
            Err(_) => break,
        }
    }
    sent
}

/// Reads so many bytes of [`PIECE`], and skips others.
async fn count(stream: &mut (impl AsyncRead + Unpin), expected: usize) {
    let mut received = 0;
    let mut piece = vec![0; PIECE.len()];
    while received < expected {
        let read = within("more bytes", stream.read(&mut piece)).await.unwrap();
        assert_ne!(read, 0, "{received} of {expected} bytes arrived");
        received += piece[..read].iter().filter(|&&byte| byte == PIECE[0]).count();
    }
    assert_eq!(received, expected);
}

async fn check(direction: &str, from: &mut TcpStream, to: &mut TcpStream) {
    let sent = fill(from).await;
    assert!(sent < LIMIT, "{direction}: {sent} bytes are buffered");
    count(to, sent).await;
    // It continues.
    from.write_all(&PIECE).await.unwrap();
    count(to, PIECE.len()).await;
}

#[tokio::test]
async fn a_fast_sender_is_held_up_by_a_receiver_that_does_not_read() {
    let large = "HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n";
    let events = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    for (direction, response) in [("a download", large), ("events", events)] {
        let (proxy, listener) = TestProxy::with_listener().await;
        let mut client = proxy.connect().await;
        client.write_all(head("GET /", "").as_bytes()).await.unwrap();
        let (mut session, _) = accept_request(&listener).await;
        session.write_all(response.as_bytes()).await.unwrap();
        read_head(&mut client).await.unwrap();
        check(direction, &mut session, &mut client).await;
    }
    for lines in ["Content-Length: 999999999\r\n", "Content-Length: 999999999\r\nExpect: 100-continue\r\n"] {
        let (proxy, listener) = TestProxy::with_listener().await;
        let mut client = proxy.connect().await;
        client.write_all(head("POST /", lines).as_bytes()).await.unwrap();
        let (mut session, _) = accept_request(&listener).await;
        check("an upload", &mut client, &mut session).await;
    }
    let (proxy, listener) = TestProxy::with_listener().await;
    let (mut client, mut session) = proxy.tunnel(&listener).await;
    check("a tunnel to the session", &mut client, &mut session).await;
    check("a tunnel to the client", &mut session, &mut client).await;
}

#[tokio::test]
async fn a_fast_session_is_held_up_by_an_http2_stream_that_is_not_read() {
    let (proxy, listener) = TestProxy::with_listener().await;
    let mut sender = proxy.connect_http2().await;
    let request = http2_request("GET", "/").body(Body::empty()).unwrap();
    let response = tokio::spawn(sender.send_request(request));
    let (mut session, _) = accept_request(&listener).await;
    session.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n").await.unwrap();
    let mut body = within("a response", response).await.unwrap().unwrap().into_body();
    let sent = fill(&mut session).await;
    assert!(sent < LIMIT, "{sent} bytes are buffered");
    let mut received = 0;
    while received < sent {
        let frame = within("more bytes", body.frame()).await.unwrap().unwrap();
        received += frame.into_data().unwrap().len();
    }
    assert_eq!(received, sent);
}

/// An upload over HTTP/2 of which the test sends one piece after another.
struct Http2Upload {
    pieces: mpsc::Sender<Bytes>,
    session: TcpStream,
}

impl Http2Upload {
    async fn start(
        sender: &hyper::client::conn::http2::SendRequest<Body>,
        listener: &tokio::net::TcpListener,
    ) -> Self {
        let (pieces, received) = mpsc::channel::<Bytes>(1);
        let body = StreamBody::new(stream::unfold(received, |mut received| async {
            let piece = received.recv().await?;
            Some((Ok::<_, BodyError>(Frame::data(piece)), received))
        }));
        let mut sender = sender.clone();
        let request = http2_request("POST", "/").body(Body::new(body)).unwrap();
        tokio::spawn(async move { sender.send_request(request).await });
        let (session, _) = accept_request(listener).await;
        Self { pieces, session }
    }

    /// Sends until the connection takes no more, and returns the number of bytes.
    async fn fill(&self) -> usize {
        let mut sent = 0;
        while sent < LIMIT {
            match timeout(HELD_UP, self.pieces.send(Bytes::from_static(&PIECE))).await {
                Ok(result) => result.unwrap(),
                Err(_) => break,
            }
            sent += PIECE.len();
        }
        sent
    }
}

#[tokio::test]
async fn an_http2_upload_is_held_up_by_a_session_that_does_not_read() {
    let (proxy, listener) = TestProxy::with_listener().await;
    let sender = proxy.connect_http2().await;
    let mut upload = Http2Upload::start(&sender, &listener).await;
    let sent = upload.fill().await;
    assert!(sent < LIMIT, "{sent} bytes are buffered");
    count(&mut upload.session, sent).await;
}

#[tokio::test]
async fn uploads_that_are_stuck_hold_up_no_other_stream_of_their_connection() {
    let (proxy, listener) = TestProxy::with_listener().await;
    let sender = proxy.connect_http2().await;
    let mut stuck = Vec::new();
    for _ in 0..20 {
        let upload = Http2Upload::start(&sender, &listener).await;
        stuck.push(upload);
    }
    futures_util::future::join_all(stuck.iter().map(Http2Upload::fill)).await;
    let mut other = Http2Upload::start(&sender, &listener).await;
    for _ in 0..16 {
        within("a place in the connection", other.pieces.send(Bytes::from_static(&PIECE))).await.unwrap();
        count(&mut other.session, PIECE.len()).await;
    }
}

/// Starts a session's server that never responds to `/stuck`.
async fn stuck_session() -> SocketAddr {
    session(|request| async move {
        if request.uri().path() == "/stuck" {
            std::future::pending::<()>().await;
        }
        Response::new(Body::from("ok"))
    })
    .await
}

#[tokio::test]
async fn requests_that_are_never_answered_hold_up_nobody() {
    let proxy = TestProxy::start(stuck_session().await).await;
    let stuck: Vec<_> = (0..300).map(|_| proxy.spawn_send(get("/stuck"))).collect();
    let mut http2 = proxy.connect_http2().await;
    let stuck_streams: Vec<_> = (0..100)
        .map(|_| {
            tokio::spawn(http2.send_request(http2_request("GET", "/stuck").body(Body::empty()).unwrap()))
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(text(proxy.get("/").await).await, "ok");
        let request = http2_request("GET", "/").body(Body::empty()).unwrap();
        let response: Response<Incoming> = within("a response", http2.send_request(request)).await.unwrap();
        assert_eq!(text(response).await, "ok");
    }
    assert!(!stuck.iter().any(|response| response.is_finished()));
    assert!(!stuck_streams.iter().any(|response| response.is_finished()));
}

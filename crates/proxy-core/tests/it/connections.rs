//! The limits of connections, their preface, upgrades that fail, and services that are not always ready.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use proxy_core::{Body, ServeSettings, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use crate::test_proxy::*;

/// A service that must be polled ready before each call, like tower's own limits.
#[derive(Default)]
struct StrictService {
    is_ready: bool,
}

impl Clone for StrictService {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl tower::Service<Request<Body>> for StrictService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.is_ready {
            return Poll::Ready(Ok(()));
        }
        self.is_ready = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called before it was ready");
        std::future::ready(Ok(Response::new(Body::from("ready"))))
    }
}

#[tokio::test]
async fn a_service_is_called_only_when_it_is_ready() {
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let shutdown = Arc::new(Notify::new());
    let on_shutdown = shutdown.clone();
    let server = tokio::spawn(async move {
        serve(listener, StrictService::default(), ServeSettings::default(), on_shutdown.notified()).await;
    });
    assert_eq!(text(send_to(address, get("/")).await).await, "ready");
    shutdown.notify_one();
    within("the server's end", server).await.unwrap();
}

#[tokio::test]
async fn a_tunnel_counts_as_a_connection() {
    let listener = listen().await;
    let settings = ServeSettings::new().with_max_connections(1);
    let proxy = TestProxy::start_with(listener.local_addr().unwrap(), Default::default(), settings).await;
    let (mut client, mut session) = proxy.tunnel(&listener).await;
    let mut response = proxy.spawn_send(get("/"));
    // While the tunnel is open, no further connection is accepted.
    for _ in 0..20 {
        client.write_all(b"x").await.unwrap();
        within("a byte", session.read_u8()).await.unwrap();
        let accepted = futures_util::FutureExt::now_or_never(listener.accept());
        assert!(accepted.is_none(), "a second connection was accepted");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(!response.is_finished());
    drop((client, session));
    let _stream = accept_and_answer(&listener).await;
    assert_eq!(within("a response", &mut response).await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_unrequested_switch_of_protocols_is_refused_as_unreachable() {
    let proxy = TestProxy::with_response(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    )
    .await;
    let response = proxy.get("/").await;
    assert_eq!(response.status(), 502);
    assert_eq!(text(response).await, "the session does not respond\n");
}

#[tokio::test]
async fn a_closed_tunnel_closes_both_connections() {
    let (proxy, listener) = TestProxy::with_listener().await;
    let (client, mut session) = proxy.tunnel(&listener).await;
    drop(client);
    assert!(within("the session's end", session.read_u8()).await.is_err());
}

#[tokio::test]
async fn the_preface_of_http2_may_arrive_in_pieces() {
    let (proxy, _listener) = TestProxy::with_listener().await;
    let mut stream = proxy.connect().await;
    stream.set_nodelay(true).unwrap();
    for piece in ["P", "RI * HTTP/2.0\r\n", "\r\nSM\r\n", "\r\n\0\0\0\x04\0\0\0\0\0"] {
        stream.write_all(piece.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut frame = [0; 9];
    within("a frame", stream.read_exact(&mut frame)).await.unwrap();
    assert_eq!(frame[3], 4, "the first frame is SETTINGS");
}

#[tokio::test]
async fn what_begins_like_the_preface_of_http2_is_answered_as_http1() {
    let (proxy, _listener) = TestProxy::with_listener().await;
    assert!(proxy.send_raw("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    let mut stream = proxy.connect().await;
    stream.write_all(b"PRI").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut received = String::new();
    let _ = within("the connection's end", stream.read_to_string(&mut received)).await;
}

/// A limit that passes several times in each of the tests of it.
const IDLE: Duration = Duration::from_millis(40);

/// Starts a proxy that closes idle connections after [`IDLE`], for a session whose connections the test
/// accepts.
async fn impatient_proxy() -> (TestProxy, TcpListener) {
    let listener = listen().await;
    let settings = ServeSettings::new().with_header_timeout(IDLE);
    let upstream = listener.local_addr().unwrap();
    (TestProxy::start_with(upstream, Default::default(), settings).await, listener)
}

#[tokio::test]
async fn a_connection_on_which_a_request_waits_is_not_idle() {
    let (proxy, listener) = impatient_proxy().await;
    let mut client = proxy.connect().await;
    client.write_all(head("GET /", "").as_bytes()).await.unwrap();
    let (mut session, _) = accept_request(&listener).await;
    tokio::time::sleep(IDLE * 4).await;
    session.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsl").await.unwrap();
    read_head(&mut client).await.unwrap();
    tokio::time::sleep(IDLE * 4).await;
    session.write_all(b"ow").await.unwrap();
    let mut body = [0; 4];
    within("the body", client.read_exact(&mut body)).await.unwrap();
    assert_eq!(&body, b"slow");
    // From now on it is idle.
    assert_eq!(within("the connection's end", client.read(&mut body)).await.unwrap(), 0);
}

#[tokio::test]
async fn a_connection_that_receives_a_body_is_not_idle() {
    let (proxy, listener) = impatient_proxy().await;
    let mut client = proxy.connect().await;
    client.write_all((head("POST /", "Content-Length: 4\r\n") + "sl").as_bytes()).await.unwrap();
    let (mut session, _) = accept_request(&listener).await;
    // The response does not wait for the request's end.
    session.write_all(OK.as_bytes()).await.unwrap();
    read_head(&mut client).await.unwrap();
    let mut body = [0; 4];
    within("a response", client.read_exact(&mut body[..2])).await.unwrap();
    tokio::time::sleep(IDLE * 4).await;
    client.write_all(b"ow").await.unwrap();
    within("the body", session.read_exact(&mut body)).await.unwrap();
    assert_eq!(&body, b"slow");
}

#[tokio::test]
async fn bytes_of_a_head_do_not_prolong_its_time() {
    let (proxy, _listener) = impatient_proxy().await;
    let (mut reader, mut writer) = proxy.connect().await.into_split();
    let slow = tokio::spawn(async move {
        writer.write_all(b"GET / HTTP/1.1\r\nX: ").await?;
        loop {
            writer.write_all(b"x").await?;
            tokio::time::sleep(IDLE / 8).await;
        }
        #[expect(unreachable_code, reason = "the type of the errors")]
        std::io::Result::Ok(())
    });
    let mut received = Vec::new();
    let _ = within("the connection's end", reader.read_to_end(&mut received)).await;
    assert!(within("the writer's end", slow).await.unwrap().is_err());
}

#[tokio::test]
async fn a_connection_that_is_closed_is_not_reset_while_its_client_sends() {
    let proxy = TestProxy::with_response(OK).await;
    let mut client = proxy.connect().await;
    let long = "x".repeat(200_000);
    let head = format!("GET / HTTP/1.1\r\nHost: example.org\r\nX-Long: {long}\r\n\r\n");
    within("a part of the head", client.write_all(head.as_bytes())).await.unwrap();
    let mut response = Vec::new();
    within("the end", client.read_to_end(&mut response)).await.expect("an end without a reset");
    assert!(response.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&response));
}

#[tokio::test]
async fn an_upload_that_is_answered_early_is_read_although_it_is_the_last_request() {
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let service =
        tower::service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::from("no"))) });
    tokio::spawn(serve(listener, service, ServeSettings::new(), std::future::pending()));
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = head("POST /", "Connection: close\r\nContent-Length: 1000000\r\n") + "the first bytes";
    within("a part of the upload", client.write_all(request.as_bytes())).await.unwrap();
    let mut response = String::new();
    within("the response", client.read_to_string(&mut response)).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200 ") && response.ends_with("no"), "{response}");
    for _ in 0..50 {
        client.write_all(b"more bytes").await.expect("a connection without a reset");
        tokio::task::yield_now().await;
    }
}

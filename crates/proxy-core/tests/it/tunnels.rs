//! WebSockets and other upgrades.

use futures_util::{SinkExt, StreamExt};
use http::Response;
use hyper_util::rt::TokioIo;
use proxy_core::{Activity, Body};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest, handshake::derive_accept_key, protocol::Role},
};

use crate::test_proxy::*;

/// Starts a WebSocket server that sends back each message.
async fn echo_websocket() -> std::net::SocketAddr {
    session(|mut request| async move {
        let accept = derive_accept_key(request.headers()["sec-websocket-key"].as_bytes());
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let io = TokioIo::new(upgrade.await.unwrap());
            let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() || message.is_binary() {
                    socket.send(message).await.unwrap();
                }
            }
        });
        Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", accept)
            .body(Body::empty())
            .unwrap()
    })
    .await
}

async fn open(proxy: &TestProxy) -> WebSocketStream<TcpStream> {
    let mut request = format!("ws://{HOST}/pty/1/connect?x=y").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("x-auth-request-email", "alice@example.com".parse().unwrap());
    headers.insert("origin", format!("https://{HOST}").parse().unwrap());
    within("the handshake", client_async(request, proxy.connect().await)).await.unwrap().0
}

#[tokio::test]
async fn websocket_messages_pass_both_ways_and_are_activity() {
    let proxy = TestProxy::start(echo_websocket().await).await;
    let mut socket = open(&proxy).await;
    assert_eq!(proxy.activities(), [Activity::Request]);
    for text in ["hello", "x".repeat(100_000).as_str()] {
        socket.send(Message::text(text)).await.unwrap();
        let echo = within("an echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(echo.into_text().unwrap(), text);
    }
    assert!(proxy.activities().contains(&Activity::Frame));
}

#[tokio::test]
async fn a_browsers_automatic_pong_is_not_activity() {
    let proxy = TestProxy::start(echo_websocket().await).await;
    let mut socket = open(&proxy).await;
    for _ in 0..3 {
        socket.send(Message::Pong("heartbeat".into())).await.unwrap();
    }
    socket.send(Message::Ping("ping".into())).await.unwrap();
    // The response to the ping proves that all of them arrived.
    assert!(within("a pong", socket.next()).await.unwrap().unwrap().is_pong());
    assert_eq!(proxy.activities(), [Activity::Request]);
}

#[tokio::test]
async fn any_other_upgrade_is_tunnelled_with_half_close() {
    let (proxy, listener) = TestProxy::with_listener().await;
    let mut client = proxy.connect().await;
    let upgrade = head("GET /x", "Connection: keep-alive, Upgrade\r\nUpgrade: lines/1\r\n");
    client.write_all(upgrade.as_bytes()).await.unwrap();
    let (mut session, request) = accept_request(&listener).await;
    let request = request.to_lowercase();
    assert!(request.contains("upgrade: lines/1") && request.contains("connection: upgrade"), "{request}");
    session
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: lines/1\r\n\r\n")
        .await
        .unwrap();
    let response = read_head(&mut client).await.unwrap().to_lowercase();
    assert!(response.starts_with("http/1.1 101") && response.contains("upgrade: lines/1"), "{response}");

    client.write_all(b"from the client").await.unwrap();
    client.shutdown().await.unwrap();
    let mut received = String::new();
    within("the client's end", session.read_to_string(&mut received)).await.unwrap();
    assert_eq!(received, "from the client");
    // The other direction is still open.
    session.write_all(b"from the session").await.unwrap();
    drop(session);
    let mut received = String::new();
    within("the session's end", client.read_to_string(&mut received)).await.unwrap();
    assert_eq!(received, "from the session");
    assert!(proxy.activities().contains(&Activity::Frame));
}

#[tokio::test]
async fn bytes_that_follow_the_switch_of_protocols_at_once_arrive() {
    let (proxy, listener) = TestProxy::with_listener().await;
    let mut client = proxy.connect().await;
    let upgrade = head("GET /", "Connection: upgrade\r\nUpgrade: x\r\n") + "early";
    client.write_all(upgrade.as_bytes()).await.unwrap();
    let (mut session, _) = accept_request(&listener).await;
    let response = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nfirst";
    session.write_all(response.as_bytes()).await.unwrap();
    read_head(&mut client).await.unwrap();
    let mut received = [0; 5];
    within("the session's bytes", client.read_exact(&mut received)).await.unwrap();
    assert_eq!(&received, b"first");
    within("the client's bytes", session.read_exact(&mut received)).await.unwrap();
    assert_eq!(&received, b"early");
}

#[tokio::test]
async fn a_tunnel_holds_a_sender_back_and_loses_nothing() {
    let (proxy, listener) = TestProxy::with_listener().await;
    let (client, session) = proxy.tunnel(&listener).await;
    let (client_reader, mut client_writer) = client.into_split();
    let (session_reader, mut session_writer) = session.into_split();
    // Both sides send at once, more than all buffers on the way hold, and neither reads meanwhile.
    let senders = tokio::spawn(async move {
        tokio::join!(send_numbers(&mut client_writer), send_numbers(&mut session_writer));
    });
    let receivers = async {
        assert_numbers(client_reader).await;
        assert_numbers(session_reader).await;
    };
    within("all bytes", receivers).await;
    senders.await.unwrap();
}

const NUMBERS: u32 = 4 << 20;
/// How many numbers are sent at a time.
const BATCH: u32 = 4096;

async fn send_numbers(stream: &mut (impl AsyncWrite + Unpin)) {
    for batch in 0..NUMBERS / BATCH {
        let numbers = batch * BATCH..(batch + 1) * BATCH;
        let bytes: Vec<u8> = numbers.flat_map(u32::to_be_bytes).collect();
        stream.write_all(&bytes).await.unwrap();
    }
    stream.shutdown().await.unwrap();
}

async fn assert_numbers(stream: impl AsyncRead + Unpin) {
    let mut stream = BufReader::new(stream);
    for number in 0..NUMBERS {
        assert_eq!(stream.read_u32().await.unwrap(), number);
    }
    assert!(stream.read_u8().await.is_err(), "more bytes than were sent");
}

#[tokio::test]
async fn a_session_that_terminates_ends_its_tunnels() {
    let (proxy, listener) = TestProxy::with_listener().await;
    let (mut client, session) = proxy.tunnel(&listener).await;
    // Closes the socket at once, without tokio's orderly shutdown.
    drop(session.into_std().unwrap());
    assert!(within("the tunnel's end", client.read_u8()).await.is_err());
}

/// Opens a WebSocket over HTTP/2 (RFC 8441).
async fn open_over_http2(proxy: &TestProxy) -> Response<hyper::body::Incoming> {
    let mut sender = proxy.connect_http2().await;
    // The server's SETTINGS, which allow extended CONNECT, arrive with its first response.
    let first = http::Request::get("https://example.org/").body(Body::empty()).unwrap();
    assert_eq!(within("a response", sender.send_request(first)).await.unwrap().status(), 200);
    let mut connect = http2_request("CONNECT", "/pty")
        .header("origin", format!("https://{HOST}"))
        .header("sec-websocket-version", "13")
        .body(Body::empty())
        .unwrap();
    connect.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
    within("a response", sender.send_request(connect)).await.unwrap()
}

#[tokio::test]
async fn a_websocket_over_http2_is_tunnelled() {
    let proxy = TestProxy::start(echo_websocket().await).await;
    let mut response = open_over_http2(&proxy).await;
    assert_eq!(response.status(), 200);
    let io = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Client, None).await;
    socket.send(Message::text("over HTTP/2")).await.unwrap();
    let echo = within("an echo", socket.next()).await.unwrap().unwrap();
    assert_eq!(echo.into_text().unwrap(), "over HTTP/2");
}

#[tokio::test]
async fn a_page_is_not_accepted_as_a_websocket_over_http2() {
    for (response, status) in [(OK, 502), ("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno", 400)] {
        let proxy = TestProxy::with_response(response).await;
        assert_eq!(open_over_http2(&proxy).await.status(), status);
    }
}

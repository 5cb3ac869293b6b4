use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::Response;
use hyper_util::rt::TokioIo;
use proxy_core::{Activity, Body};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest, protocol::Role},
};

use crate::world::*;

/// A WebSocket server that sends back what it gets.
async fn echo() -> std::net::SocketAddr {
    upstream(|mut request| async move {
        let key = request.headers()["sec-websocket-key"].as_bytes().to_vec();
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let io = TokioIo::new(upgrade.await.unwrap());
            let mut socket =
                tokio_tungstenite::WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() || message.is_binary() {
                    socket.send(message).await.unwrap();
                }
            }
        });
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(&key);
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

async fn open(world: &World) -> tokio_tungstenite::WebSocketStream<TcpStream> {
    let mut request = format!("ws://{HOST}/pty/1/connect?x=y").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("x-auth-request-email", "alice@example.com".parse().unwrap());
    headers.insert("origin", format!("https://{HOST}").parse().unwrap());
    let stream = TcpStream::connect(world.proxy).await.unwrap();
    within("the handshake", client_async(request, stream)).await.unwrap().0
}

#[tokio::test]
async fn a_websocket_echoes_and_its_frames_are_activity() {
    let world = World::before(echo().await).await;
    let mut socket = open(&world).await;
    assert_eq!(world.touches(), [Activity::Request]);
    for text in ["hello", "x".repeat(100_000).as_str()] {
        socket.send(Message::text(text)).await.unwrap();
        let answer = within("an echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(answer.into_text().unwrap(), text);
    }
    assert!(world.touches().contains(&Activity::Frame));
}

#[tokio::test]
async fn a_browsers_automatic_pong_is_not_activity() {
    let world = World::before(echo().await).await;
    let mut socket = open(&world).await;
    for _ in 0..3 {
        socket.send(Message::Pong("beat".into())).await.unwrap();
    }
    socket.send(Message::Ping("are you there".into())).await.unwrap();
    // The answer to the ping shows that all of them went through.
    assert!(within("a pong", socket.next()).await.unwrap().unwrap().is_pong());
    assert_eq!(world.touches(), [Activity::Request]);
}

#[tokio::test]
async fn any_other_upgrade_is_tunnelled_and_half_close_is_respected() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::before(listener.local_addr().unwrap()).await;
    let mut client = TcpStream::connect(world.proxy).await.unwrap();
    let head = format!(
        "GET /x HTTP/1.1\r\nHost: {HOST}\r\nX-Auth-Request-Email: alice@example.com\r\nConnection: keep-alive, Upgrade\r\nUpgrade: lines/1\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut server, _) = within("a connection", listener.accept()).await.unwrap();
    let head = read_head(&mut server).await.unwrap().to_lowercase();
    assert!(head.contains("upgrade: lines/1") && head.contains("connection: upgrade"), "{head}");
    server
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: lines/1\r\n\r\n")
        .await
        .unwrap();
    let head = read_head(&mut client).await.unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: lines/1"), "{head}");

    client.write_all(b"all I have to say").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = String::new();
    within("the client's end", server.read_to_string(&mut heard)).await.unwrap();
    assert_eq!(heard, "all I have to say");
    // The other way is still open.
    server.write_all(b"and my answer").await.unwrap();
    drop(server);
    let mut answer = String::new();
    within("the server's end", client.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "and my answer");
    assert!(world.touches().contains(&Activity::Frame));
}

#[tokio::test]
async fn a_session_that_dies_ends_its_tunnels() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::before(listener.local_addr().unwrap()).await;
    let mut client = TcpStream::connect(world.proxy).await.unwrap();
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
    let reset = server.into_std().unwrap();
    drop(reset);
    assert!(within("the end", client.read_u8()).await.is_err());
}

/// Asks for a WebSocket over HTTP/2 (RFC 8441).
async fn open_over_http2(world: &World) -> Response<hyper::body::Incoming> {
    let stream = TcpStream::connect(world.proxy).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // The server's SETTINGS, which allow extended CONNECT, come with its first answer.
    let hello = http::Request::get("https://example.org/").body(Body::empty()).unwrap();
    assert_eq!(within("an answer", sender.send_request(hello)).await.unwrap().status(), 200);
    let mut connect = http::Request::builder()
        .method("CONNECT")
        .uri(format!("https://{HOST}/pty"))
        .header("x-auth-request-email", "alice@example.com")
        .header("origin", format!("https://{HOST}"))
        .header("sec-websocket-version", "13")
        .body(Body::empty())
        .unwrap();
    connect.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
    within("an answer", sender.send_request(connect)).await.unwrap()
}

#[tokio::test]
async fn a_websocket_over_http2_is_tunnelled() {
    let world = World::before(echo().await).await;
    let mut response = open_over_http2(&world).await;
    assert_eq!(response.status(), 200);
    let io = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    let mut socket = tokio_tungstenite::WebSocketStream::from_raw_socket(io, Role::Client, None).await;
    socket.send(Message::text("over two")).await.unwrap();
    let answer =
        tokio::time::timeout(Duration::from_secs(20), socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.into_text().unwrap(), "over two");
}

#[tokio::test]
async fn a_page_is_no_websocket_over_http2() {
    for (answer, status) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 502),
        ("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno", 400),
    ] {
        let (upstream, _heads) = raw_upstream(answer).await;
        let world = World::before(upstream).await;
        assert_eq!(open_over_http2(&world).await.status(), status);
    }
}

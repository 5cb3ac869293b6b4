//! The end of `serve`.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use proxy_core::{Body, ServeSettings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::test_proxy::*;

#[tokio::test]
async fn a_drain_waits_for_requests_and_tunnels() {
    let (mut proxy, listener) = TestProxy::with_listener().await;
    let (mut client, mut session) = proxy.tunnel(&listener).await;
    let response = proxy.spawn_send(get("/"));
    let (mut stream, _) = accept_request(&listener).await;

    proxy.shut_down();
    within("the refusal of new connections", async {
        while TcpStream::connect(proxy.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!proxy.server.is_finished());
    stream.write_all(OK.as_bytes()).await.unwrap();
    assert_eq!(text(response.await.unwrap()).await, "ok");
    client.write_all(b"still").await.unwrap();
    let mut bytes = [0; 5];
    within("five bytes", session.read_exact(&mut bytes)).await.unwrap();
    assert!(!proxy.server.is_finished());
    drop((client, session));
    within("the server's end", &mut proxy.server).await.unwrap();
}

#[tokio::test]
async fn requests_and_tunnels_are_aborted_after_the_drain() {
    let listener = listen().await;
    let settings = ServeSettings::new().with_drain(Duration::from_millis(100));
    let mut proxy = TestProxy::start_with(listener.local_addr().unwrap(), Default::default(), settings).await;
    let (mut client, _session) = proxy.tunnel(&listener).await;
    let response = proxy.spawn_send(get("/event"));
    let (mut stream, _) = accept_request(&listener).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await.unwrap();
    let mut events = response.await.unwrap().into_body();

    proxy.shut_down();
    within("the server's end", &mut proxy.server).await.unwrap();
    assert!(within("the tunnel's end", client.read_u8()).await.is_err(), "not a WebSocket: no frame is sent");
    assert!(!matches!(within("the stream's end", events.frame()).await, Some(Ok(_))));
}

/// Reads a response with the body `ok`; returns its head.
async fn read_ok(stream: &mut TcpStream) -> String {
    let head = within("a response", read_head(stream)).await.expect("a response");
    let mut body = [0; 2];
    within("the body", stream.read_exact(&mut body)).await.unwrap();
    assert_eq!(&body, b"ok", "{head}");
    head.to_ascii_lowercase()
}

async fn assert_closed(stream: &mut TcpStream) {
    assert_eq!(within("the connection's end", stream.read(&mut [0; 1])).await.unwrap(), 0);
}

async fn start_with_delay(shutdown_delay: Duration, drain: Duration) -> TestProxy {
    let settings = ServeSettings::new().with_shutdown_delay(shutdown_delay).with_drain(drain);
    TestProxy::start_with(raw_session(OK).await.0, Default::default(), settings).await
}

const LONG: Duration = Duration::from_secs(3600);

/// Returns the bytes of a frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    [&[0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Reads a frame of HTTP/2; returns its type and payload, and `None` at the connection's end.
async fn read_frame(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 9];
    within("a frame", stream.read_exact(&mut header)).await.ok()?;
    let mut payload = vec![0; usize::from(header[1]) << 8 | usize::from(header[2])];
    within("a payload", stream.read_exact(&mut payload)).await.ok()?;
    Some((header[3], payload))
}

/// Opens a connection that speaks HTTP/2 in bytes, and waits for the server's settings.
async fn http2_bytes(proxy: &TestProxy) -> TcpStream {
    let mut client = proxy.connect().await;
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])].concat();
    client.write_all(&preface).await.unwrap();
    while read_frame(&mut client).await.expect("settings").0 != 4 {}
    client
}

#[tokio::test]
async fn during_the_delay_requests_are_served_and_http1_connections_end_with_their_response() {
    let mut proxy = start_with_delay(LONG, LONG).await;
    let (mut busy, mut idle) = (proxy.connect().await, proxy.connect().await);
    for client in [&mut busy, &mut idle] {
        client.write_all(head("GET /", "").as_bytes()).await.unwrap();
        assert!(!read_ok(client).await.contains("connection: close"));
    }
    let mut http2 = proxy.connect_http2().await;
    within("a response", http2.send_request(http2_request("GET", "/").body(Body::empty()).unwrap()))
        .await
        .unwrap();
    proxy.shut_down();
    // The shutdown is seen once a response says so.
    within("the announcement", async {
        loop {
            let mut client = proxy.connect().await;
            client.write_all(head("GET /", "").as_bytes()).await.unwrap();
            if read_ok(&mut client).await.contains("connection: close") {
                return assert_closed(&mut client).await;
            }
        }
    })
    .await;
    busy.write_all(head("GET /", "").as_bytes()).await.unwrap();
    assert!(read_ok(&mut busy).await.contains("connection: close"));
    assert_closed(&mut busy).await;
    let response = http2.send_request(http2_request("GET", "/").body(Body::empty()).unwrap());
    let response = within("a response", response).await.unwrap();
    assert!(!response.headers().contains_key("connection"), "HTTP/2 has no such header");
    assert!(!http2.is_closed());
    assert!(idle.try_read(&mut [0; 1]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    assert!(!proxy.server.is_finished());
    proxy.server.abort();
}

#[tokio::test]
async fn a_tunnel_may_be_opened_during_the_delay() {
    let listener = listen().await;
    let settings = ServeSettings::new().with_shutdown_delay(LONG);
    let mut proxy = TestProxy::start_with(listener.local_addr().unwrap(), Default::default(), settings).await;
    proxy.shut_down();
    let (mut client, mut session) = proxy.tunnel(&listener).await;
    client.write_all(b"hello").await.unwrap();
    within("five bytes", session.read_exact(&mut [0; 5])).await.unwrap();
    proxy.server.abort();
}

#[tokio::test]
async fn the_drain_says_connection_close_and_goaway() {
    let (mut proxy, listener) = TestProxy::with_listener().await;
    let mut http1 = proxy.connect().await;
    http1.write_all(head("GET /", "").as_bytes()).await.unwrap();
    let (mut first, _) = accept_request(&listener).await;

    let mut http2 = http2_bytes(&proxy).await;
    // Indexed fields of HPACK for method, scheme and path; then authority and user as literals.
    let mut fields = vec![0x82, 0x87, 0x84, 0x01, u8::try_from(HOST.len()).unwrap()];
    fields.extend(HOST.as_bytes());
    for text in ["x-auth-request-email", "alice@example.com"] {
        if text.starts_with('x') {
            fields.push(0);
        }
        fields.push(u8::try_from(text.len()).unwrap());
        fields.extend(text.as_bytes());
    }
    http2.write_all(&frame(1, 0x5, 1, &fields)).await.unwrap();
    let (mut second, _) = accept_request(&listener).await;

    let mut idle = http2_bytes(&proxy).await;
    proxy.shut_down();
    let goaway = |kind, payload: &[u8]| kind == 7 && payload[4..8] == [0; 4];
    let mut received = Vec::new();
    while !received.iter().any(|(kind, payload): &(u8, Vec<u8>)| goaway(*kind, payload)) {
        received.push(read_frame(&mut http2).await.expect("GOAWAY before the end"));
    }
    for stream in [&mut first, &mut second] {
        stream.write_all(OK.as_bytes()).await.unwrap();
    }
    let mut data = Vec::new();
    while let Some((kind, payload)) = read_frame(&mut http2).await {
        if kind == 6 {
            http2.write_all(&frame(6, 1, 0, &payload)).await.unwrap();
        }
        if kind == 0 {
            data.extend(payload);
        }
    }
    assert_eq!(data, b"ok");
    assert!(read_ok(&mut http1).await.contains("connection: close"));
    assert_closed(&mut http1).await;
    let mut last = None;
    while let Some((kind, payload)) = read_frame(&mut idle).await {
        if kind == 6 {
            let _ = idle.write_all(&frame(6, 1, 0, &payload)).await;
        }
        last = Some(kind);
    }
    assert_eq!(last, Some(7), "an unused connection of HTTP/2 ends with GOAWAY");
    within("the server's end", &mut proxy.server).await.unwrap();
}

#[tokio::test]
async fn a_first_request_that_comes_with_the_drain_is_served() {
    let mut proxy = start_with_delay(Duration::ZERO, LONG).await;
    let mut used = proxy.connect().await;
    used.write_all(head("GET /", "").as_bytes()).await.unwrap();
    read_ok(&mut used).await;
    let mut client = proxy.connect().await;
    // Answered after the connection above was accepted.
    proxy.get("/").await;
    proxy.shut_down();
    assert_closed(&mut used).await;
    client.write_all(head("GET /", "").as_bytes()).await.unwrap();
    assert!(read_ok(&mut client).await.contains("connection: close"));
    assert_closed(&mut client).await;
    within("the server's end", &mut proxy.server).await.unwrap();
}

#[tokio::test]
async fn connections_in_the_kernels_queue_are_served() {
    let settings = ServeSettings::new().with_drain(LONG);
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        clients.push(client);
    }
    let service =
        tower::service_fn(async |_| Ok::<_, std::convert::Infallible>(http::Response::new(Body::from("ok"))));
    within("the server's end", proxy_core::serve(listener, service, settings, async {})).await;
    for mut client in clients {
        assert!(read_ok(&mut client).await.contains("connection: close"));
    }
}

#[tokio::test]
async fn thousands_of_idle_connections_do_not_hold_the_drain() {
    let mut proxy = start_with_delay(Duration::ZERO, LONG).await;
    let mut clients = Vec::new();
    for number in 0..2000 {
        let mut client = proxy.connect().await;
        if number % 2 == 0 {
            client.write_all(head("GET /", "").as_bytes()).await.unwrap();
            read_ok(&mut client).await;
        }
        clients.push(client);
    }
    proxy.shut_down();
    within("the server's end", &mut proxy.server).await.unwrap();
    for mut client in clients {
        assert_closed(&mut client).await;
    }
}

#[tokio::test]
async fn a_request_that_never_ends_is_aborted_after_the_drain() {
    for drain in [Duration::ZERO, Duration::from_millis(100)] {
        let listener = listen().await;
        let settings = ServeSettings::new().with_drain(drain);
        let mut proxy =
            TestProxy::start_with(listener.local_addr().unwrap(), Default::default(), settings).await;
        let mut client = proxy.connect().await;
        client.write_all(head("POST /", "Content-Length: 1000\r\n").as_bytes()).await.unwrap();
        let (mut session, _) = accept_request(&listener).await;
        let mut half = proxy.connect().await;
        half.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
        proxy.shut_down();
        within("the server's end", &mut proxy.server).await.unwrap();
        for stream in [&mut client, &mut half, &mut session] {
            let end = within("the connection's end", stream.read(&mut [0; 1])).await;
            assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        }
    }
}

/// Opens a WebSocket over HTTP/1.1. Returns the client's end and the session's.
async fn websocket(proxy: &TestProxy, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = proxy.connect().await;
    client
        .write_all(head("GET /", "Connection: upgrade\r\nUpgrade: websocket\r\n").as_bytes())
        .await
        .unwrap();
    let (mut session, _) = accept_request(listener).await;
    let response = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    session.write_all(response.as_bytes()).await.unwrap();
    within("a response", read_head(&mut client)).await.unwrap();
    (client, session)
}

const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];

#[tokio::test]
async fn a_websocket_ends_with_the_code_1001_after_the_drain() {
    let listener = listen().await;
    let settings = ServeSettings::new().with_drain(Duration::from_millis(100));
    let mut proxy = TestProxy::start_with(listener.local_addr().unwrap(), Default::default(), settings).await;
    let (mut quiet, mut first) = websocket(&proxy, &listener).await;
    let (mut answered, mut second) = websocket(&proxy, &listener).await;
    let (mut cut, mut third) = websocket(&proxy, &listener).await;
    second.write_all(&[0x81, 2, b'o', b'k']).await.unwrap();
    third.write_all(&[0x81, 9, b'o', b'k']).await.unwrap();
    within("a part of a frame", cut.read_exact(&mut [0; 4])).await.unwrap();
    // Not read by the session before the end, and no reason to reset the connection.
    quiet.write_all(&[0x81, 0x80, 1, 2, 3, 4]).await.unwrap();

    proxy.shut_down();
    within("the server's end", &mut proxy.server).await.unwrap();
    let mut received = Vec::new();
    within("the end", quiet.read_to_end(&mut received)).await.unwrap();
    assert_eq!(received, GOING_AWAY);
    received.clear();
    within("the end", answered.read_to_end(&mut received)).await.unwrap();
    assert_eq!(received, [&[0x81, 2, b'o', b'k'][..], &GOING_AWAY].concat());
    received.clear();
    let _ = within("the end", cut.read_to_end(&mut received)).await;
    assert_eq!(received, [], "a close frame would be taken for the rest of the message");
    for session in [&mut first, &mut second, &mut third] {
        let mut bytes = Vec::new();
        let _ = within("the session's end", session.read_to_end(&mut bytes)).await;
    }
}

#[tokio::test]
async fn a_websocket_over_http2_ends_with_the_code_1001_after_the_drain() {
    let listener = listen().await;
    let settings = ServeSettings::new().with_drain(Duration::from_millis(100));
    let mut proxy = TestProxy::start_with(listener.local_addr().unwrap(), Default::default(), settings).await;
    let mut client = proxy.connect_http2().await;
    let request = http2_request("CONNECT", "/").extension(Protocol::from_static("websocket"));
    let response = client.send_request(request.body(Body::empty()).unwrap());
    let session = async {
        let (mut session, _) = accept_request(&listener).await;
        let response =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        session.write_all(response.as_bytes()).await.unwrap();
        session
    };
    let (response, _session) = within("a WebSocket", async { tokio::join!(response, session) }).await;
    let upgraded = hyper::upgrade::on(response.unwrap());
    let mut socket = TokioIo::new(within("a WebSocket", upgraded).await.unwrap());
    proxy.shut_down();
    let mut received = Vec::new();
    within("the end", socket.read_to_end(&mut received)).await.unwrap();
    assert_eq!(received, GOING_AWAY);
    drop(socket);
    within("the server's end", &mut proxy.server).await.unwrap();
}

//! The pool of connections to sessions, and retries.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proxy_core::{Body, Forward, ForwardSettings, Upstream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};
use tower::ServiceExt;

use crate::test_proxy::*;

#[tokio::test]
async fn a_connection_is_reused() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let session = serve_connections(move |mut stream| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            while read_head(&mut stream).await.is_some() {
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let proxy = TestProxy::start(session).await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(proxy.connect().await)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..20 {
        sender.ready().await.unwrap();
        let response = within("a response", sender.send_request(get("/"))).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

/// Starts a session's server that answers each connection's first request, and closes the connection at the
/// second one. Returns the heads of all requests.
async fn closes_at_second_request() -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (heads, received) = mpsc::unbounded_channel();
    let address = serve_connections(move |mut stream| {
        let heads = heads.clone();
        async move {
            heads.send(read_head(&mut stream).await.unwrap()).unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
            if let Some(head) = read_head(&mut stream).await {
                heads.send(head).unwrap();
            }
        }
    })
    .await;
    (address, received)
}

#[tokio::test]
async fn an_idempotent_request_on_a_stale_connection_is_sent_again() {
    let (session, mut heads) = closes_at_second_request().await;
    let proxy = TestProxy::start(session).await;
    assert_eq!(text(proxy.get("/one").await).await, "ok");
    assert_eq!(proxy.get("/two").await.status(), 200);
    let mut received = Vec::new();
    for _ in 0..3 {
        received.push(within("a request", heads.recv()).await.unwrap());
    }
    assert_eq!(received.iter().filter(|head| head.starts_with("GET /two")).count(), 2, "{received:?}");
}

#[tokio::test]
async fn a_request_that_is_not_idempotent_is_never_sent_again() {
    let (session, mut heads) = closes_at_second_request().await;
    let proxy = TestProxy::start(session).await;
    assert_eq!(text(proxy.get("/one").await).await, "ok");
    let post = request("POST", "/two").body(Full::new(Bytes::from_static(b"x"))).unwrap();
    assert_eq!(proxy.send(post).await.status(), 502);
    within("a request", heads.recv()).await.unwrap();
    let second = within("a request", heads.recv()).await.unwrap();
    assert!(second.starts_with("POST /two"), "{second}");
    assert!(heads.try_recv().is_err(), "the request was sent twice");
}

#[tokio::test]
async fn a_connection_whose_response_was_not_read_to_its_end_is_not_reused() {
    let (proxy, listener) = TestProxy::with_listener().await;
    let response = proxy.spawn_send(get("/one"));
    let (mut first, _) = accept_request(&listener).await;
    first.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart").await.unwrap();
    drop(response.await.unwrap());
    let response = proxy.spawn_send(get("/two"));
    let _second = accept_and_answer(&listener).await;
    assert_eq!(text(response.await.unwrap()).await, "ok");
}

/// Starts a session's server that answers each connection's first request, and the second one with these
/// bytes before it closes the connection. Returns the number of second requests.
async fn sends_at_second_request(bytes: &'static [u8]) -> (SocketAddr, Arc<AtomicUsize>) {
    let second_requests = Arc::new(AtomicUsize::new(0));
    let count = second_requests.clone();
    let address = serve_connections(move |mut stream| {
        let count = count.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
            if read_head(&mut stream).await.is_some() {
                count.fetch_add(1, Ordering::Relaxed);
                let _ = stream.write_all(bytes).await;
            }
        }
    })
    .await;
    (address, second_requests)
}

#[tokio::test]
async fn a_request_whose_response_is_not_http_is_not_sent_again() {
    let (session, second_requests) = sends_at_second_request(b"220 mail.example.org ESMTP\r\n").await;
    let proxy = TestProxy::start(session).await;
    assert_eq!(text(proxy.get("/").await).await, "ok");
    assert_eq!(proxy.get("/").await.status(), 502);
    assert_eq!(second_requests.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_request_is_sent_again_at_most_once() {
    let (session, second_requests) = sends_at_second_request(b"").await;
    let proxy = TestProxy::start(session).await;
    // Eight requests at a time open eight connections, which are idle afterwards.
    let requests: Vec<_> = (0..8).map(|_| proxy.spawn_send(get("/"))).collect();
    let mut responses = Vec::new();
    for request in requests {
        responses.push(request.await.unwrap());
    }
    for response in responses {
        assert_eq!(text(response).await, "ok");
    }
    assert_eq!(text(proxy.get("/").await).await, "ok");
    assert_eq!(second_requests.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_timeout() {
    let listener = listen().await;
    let settings = ForwardSettings { idle_timeout: Duration::from_millis(100), ..Default::default() };
    let proxy = TestProxy::start_with(listener.local_addr().unwrap(), settings, Default::default()).await;
    let response = proxy.spawn_send(get("/"));
    let mut stream = accept_and_answer(&listener).await;
    assert_eq!(text(response.await.unwrap()).await, "ok");
    assert!(within("the connection's end", stream.read_u8()).await.is_err());
}

#[tokio::test]
async fn an_upload_continues_after_an_early_response() {
    let (proxy, listener) = TestProxy::with_listener().await;
    let mut client = proxy.connect().await;
    client.write_all(head("POST /one", "Content-Length: 4\r\n").as_bytes()).await.unwrap();
    let mut session = accept_and_answer(&listener).await;
    read_head(&mut client).await.unwrap();
    // Another request meanwhile neither waits for that connection nor closes it.
    let response = proxy.spawn_send(get("/two"));
    let _second = accept_and_answer(&listener).await;
    assert_eq!(text(response.await.unwrap()).await, "ok");
    client.write_all(b"late").await.unwrap();
    let mut late = [0; 4];
    within("the rest of the upload", session.read_exact(&mut late)).await.unwrap();
    assert_eq!(&late, b"late");
}

#[tokio::test]
async fn an_idle_connection_that_the_session_closed_is_closed_and_not_used() {
    let listener = listen().await;
    // Only the sweep can close the connection.
    let settings = ForwardSettings { idle_timeout: Duration::from_secs(3600), ..Default::default() };
    let proxy = TestProxy::start_with(listener.local_addr().unwrap(), settings, Default::default()).await;
    let response = proxy.spawn_send(get("/"));
    let mut first = accept_and_answer(&listener).await;
    assert_eq!(text(response.await.unwrap()).await, "ok");
    first.shutdown().await.unwrap();
    assert!(within("the connection's end", first.read_u8()).await.is_err());
    // This request could not be sent again.
    let post = request("POST", "/").body(Full::new(Bytes::from_static(b"x"))).unwrap();
    let response = proxy.spawn_send(post);
    let _second = accept_and_answer(&listener).await;
    assert_eq!(text(response.await.unwrap()).await, "ok");
}

#[tokio::test]
async fn an_upload_continues_while_nobody_reads_the_response() {
    const LENGTH: usize = 16 << 20;
    const CHUNK: usize = 16 << 10;
    let (proxy, listener) = TestProxy::with_listener().await;
    let mut client = proxy.connect().await;
    client.write_all(head("POST /", &format!("Content-Length: {LENGTH}\r\n")).as_bytes()).await.unwrap();
    let (session, _) = accept_request(&listener).await;
    let (mut reader, mut writer) = session.into_split();
    writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await.unwrap();
    // Fills every buffer on the way to the client, which reads no more than the head.
    let responding = tokio::spawn(async move { while writer.write_all(&[7; CHUNK]).await.is_ok() {} });
    read_head(&mut client).await.unwrap();
    let uploading = tokio::spawn(async move {
        for _ in 0..LENGTH / CHUNK {
            client.write_all(&[1; CHUNK]).await.unwrap();
        }
        client
    });
    for _ in 0..LENGTH / CHUNK {
        within("the upload", reader.read_exact(&mut [0; CHUNK])).await.unwrap();
    }
    drop(uploading.await.unwrap());
    // The client disconnected, so the session's connection ends as well.
    within("the connection's end", responding).await.unwrap();
}

#[test]
fn a_connection_of_a_runtime_that_has_ended_is_not_used() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let servers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (session, _heads) = servers.block_on(raw_session(OK));
    let forward = Forward::new(ForwardSettings::default());
    for _ in 0..3 {
        // A new runtime each time. The request has a body, so it could not be sent again.
        runtime().block_on(async {
            let mut request = Request::post("/").header("host", HOST).body(Body::from("body")).unwrap();
            request.extensions_mut().insert(Upstream::new(session));
            let Ok(response) = within("a response", forward.clone().oneshot(request)).await;
            assert_eq!(response.status(), 200);
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
        });
    }
}

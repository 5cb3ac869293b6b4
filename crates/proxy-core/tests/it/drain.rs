//! The end of `serve`.

use std::time::Duration;

use http_body_util::BodyExt;
use proxy_core::ServeSettings;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
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
    let settings = ServeSettings { drain: Duration::from_millis(100), ..Default::default() };
    let mut proxy = TestProxy::start_with(listener.local_addr().unwrap(), Default::default(), settings).await;
    let (mut client, _session) = proxy.tunnel(&listener).await;
    let response = proxy.spawn_send(get("/event"));
    let (mut stream, _) = accept_request(&listener).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await.unwrap();
    let mut events = response.await.unwrap().into_body();

    proxy.shut_down();
    within("the server's end", &mut proxy.server).await.unwrap();
    assert!(within("the tunnel's end", client.read_u8()).await.is_err());
    assert!(!matches!(within("the stream's end", events.frame()).await, Some(Ok(_))));
}

use std::time::Duration;

use http_body_util::BodyExt;
use proxy_core::ServeSettings;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::world::*;

#[tokio::test]
async fn a_drain_waits_for_requests_and_tunnels() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut world = World::before(listener.local_addr().unwrap()).await;
    let (mut client, mut server) = world.tunnel(&listener).await;
    let asking = tokio::spawn(send_to(world.proxy, get("/")));
    let (mut upstream, _) = within("a connection", listener.accept()).await.unwrap();
    read_head(&mut upstream).await.unwrap();

    world.stop();
    within("the refusal of new connections", async {
        while TcpStream::connect(world.proxy).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!world.server.is_finished());
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    assert_eq!(text(asking.await.unwrap()).await, "ok");
    client.write_all(b"still").await.unwrap();
    let mut word = [0; 5];
    within("a word", server.read_exact(&mut word)).await.unwrap();
    assert!(!world.server.is_finished());
    drop((client, server));
    within("the end", &mut world.server).await.unwrap();
}

#[tokio::test]
async fn what_does_not_end_by_itself_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = ServeSettings { drain: Duration::from_millis(100), ..Default::default() };
    let mut world = World::with(listener.local_addr().unwrap(), Default::default(), settings).await;
    let (mut client, _server) = world.tunnel(&listener).await;
    let asking = tokio::spawn(send_to(world.proxy, get("/event")));
    let (mut upstream, _) = within("a connection", listener.accept()).await.unwrap();
    read_head(&mut upstream).await.unwrap();
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await.unwrap();
    let mut events = asking.await.unwrap().into_body();

    world.stop();
    within("the end", &mut world.server).await.unwrap();
    assert!(within("the tunnel's end", client.read_u8()).await.is_err());
    assert!(!matches!(within("the stream's end", events.frame()).await, Some(Ok(_))));
}

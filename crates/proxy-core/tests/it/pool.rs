use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::world::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_is_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                while read_head(&mut stream).await.is_some() {
                    stream.write_all(OK).await.unwrap();
                }
            });
        }
    });
    let world = World::before(address).await;
    let stream = TcpStream::connect(world.proxy).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..20 {
        sender.ready().await.unwrap();
        let response = within("an answer", sender.send_request(get("/"))).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

/// A server that answers each connection's first request, and at the second closes without a word. Tells of
/// each request that it read.
async fn closes_at_the_second() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let head = read_head(&mut stream).await.unwrap();
                tell.send(head).unwrap();
                stream.write_all(OK).await.unwrap();
                if let Some(head) = read_head(&mut stream).await {
                    tell.send(head).unwrap();
                }
            });
        }
    });
    (address, requests)
}

#[tokio::test]
async fn an_idempotent_request_on_a_stale_connection_is_sent_again() {
    let (address, mut requests) = closes_at_the_second().await;
    let world = World::before(address).await;
    assert_eq!(text(world.get("/one").await).await, "ok");
    assert_eq!(world.get("/two").await.status(), 200);
    let mut heads = Vec::new();
    for _ in 0..3 {
        heads.push(within("a request", requests.recv()).await.unwrap());
    }
    assert_eq!(heads.iter().filter(|head| head.starts_with("GET /two")).count(), 2, "{heads:?}");
}

#[tokio::test]
async fn a_request_that_could_be_done_twice_is_not_sent_again() {
    let (address, mut requests) = closes_at_the_second().await;
    let world = World::before(address).await;
    assert_eq!(text(world.get("/one").await).await, "ok");
    let post = request("POST", "/two").body(Full::new(Bytes::from_static(b"x"))).unwrap();
    assert_eq!(world.send(post).await.status(), 502);
    within("a request", requests.recv()).await.unwrap();
    let second = within("a request", requests.recv()).await.unwrap();
    assert!(second.starts_with("POST /two"), "{second}");
    assert!(requests.try_recv().is_err(), "it was sent twice");
}

#[tokio::test]
async fn a_connection_whose_response_was_not_read_to_its_end_is_not_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::before(listener.local_addr().unwrap()).await;
    let asking = tokio::spawn(send_to(world.proxy, get("/one")));
    let (mut first, _) = within("a connection", listener.accept()).await.unwrap();
    read_head(&mut first).await.unwrap();
    first.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart").await.unwrap();
    drop(asking.await.unwrap());
    let asking = tokio::spawn(send_to(world.proxy, get("/two")));
    let (mut second, _) = within("another connection", listener.accept()).await.unwrap();
    read_head(&mut second).await.unwrap();
    second.write_all(OK).await.unwrap();
    assert_eq!(text(asking.await.unwrap()).await, "ok");
}

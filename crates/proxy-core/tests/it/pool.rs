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

/// Answers a connection's first request, and every other one with these bytes, then closes.
async fn says_at_the_second(bytes: &'static [u8]) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                read_head(&mut stream).await.unwrap();
                stream.write_all(OK).await.unwrap();
                if read_head(&mut stream).await.is_some() {
                    count.fetch_add(1, Ordering::Relaxed);
                    let _ = stream.write_all(bytes).await;
                }
            });
        }
    });
    (address, seen)
}

#[tokio::test]
async fn an_answer_that_is_none_is_not_asked_for_again() {
    let (address, seen) = says_at_the_second(b"220 mail.example.org ESMTP\r\n").await;
    let world = World::before(address).await;
    assert_eq!(text(world.get("/").await).await, "ok");
    assert_eq!(world.get("/").await.status(), 502);
    assert_eq!(seen.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_request_is_sent_again_once_however_many_connections_are_stale() {
    let (address, seen) = says_at_the_second(b"").await;
    let world = World::before(address).await;
    // Eight at a time open eight connections, which are idle afterwards.
    let first: Vec<_> = (0..8).map(|_| tokio::spawn(send_to(world.proxy, get("/")))).collect();
    let mut bodies = Vec::new();
    for asking in first {
        bodies.push(asking.await.unwrap());
    }
    for response in bodies {
        assert_eq!(text(response).await, "ok");
    }
    assert_eq!(text(world.get("/").await).await, "ok");
    assert_eq!(seen.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_time_though_nobody_asks() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = proxy_core::ForwardSettings {
        idle_timeout: std::time::Duration::from_millis(100),
        ..Default::default()
    };
    let world = World::with(listener.local_addr().unwrap(), settings, Default::default()).await;
    let asking = tokio::spawn(send_to(world.proxy, get("/")));
    let (mut stream, _) = within("a connection", listener.accept()).await.unwrap();
    read_head(&mut stream).await.unwrap();
    stream.write_all(OK).await.unwrap();
    assert_eq!(text(asking.await.unwrap()).await, "ok");
    assert!(within("its end", tokio::io::AsyncReadExt::read_u8(&mut stream)).await.is_err());
}

#[tokio::test]
async fn an_upload_goes_on_when_its_answer_came_early() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::before(listener.local_addr().unwrap()).await;
    let mut client = TcpStream::connect(world.proxy).await.unwrap();
    let head = format!(
        "POST /one HTTP/1.1\r\nHost: {HOST}\r\nX-Auth-Request-Email: alice@example.com\r\nContent-Length: 4\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut server, _) = within("a connection", listener.accept()).await.unwrap();
    read_head(&mut server).await.unwrap();
    server.write_all(OK).await.unwrap();
    read_head(&mut client).await.unwrap();
    // Somebody else's request meanwhile neither waits for that connection nor ends it.
    let asking = tokio::spawn(send_to(world.proxy, get("/two")));
    let (mut second, _) = within("another connection", listener.accept()).await.unwrap();
    read_head(&mut second).await.unwrap();
    second.write_all(OK).await.unwrap();
    assert_eq!(text(asking.await.unwrap()).await, "ok");
    client.write_all(b"late").await.unwrap();
    let mut late = [0; 4];
    within("the rest", tokio::io::AsyncReadExt::read_exact(&mut server, &mut late)).await.unwrap();
    assert_eq!(&late, b"late");
}

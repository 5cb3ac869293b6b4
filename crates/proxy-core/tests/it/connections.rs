//! What a connection may take up, and services that are not always ready.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use proxy_core::{Body, ServeSettings, serve};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use crate::world::*;

/// Takes one request for each time that it said it is ready, as tower's own limits do.
#[derive(Default)]
struct Strict {
    ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl tower::Service<Request<Body>> for Strict {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.ready {
            return Poll::Ready(Ok(()));
        }
        self.ready = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "it was called before it was ready");
        std::future::ready(Ok(Response::new(Body::from("ready"))))
    }
}

#[tokio::test]
async fn a_service_is_asked_whether_it_is_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Arc::new(Notify::new());
    let stopped = stop.clone();
    let server = tokio::spawn(async move {
        serve(listener, Strict::default(), ServeSettings::default(), stopped.notified()).await;
    });
    assert_eq!(text(send_to(address, get("/")).await).await, "ready");
    stop.notify_one();
    within("the end", server).await.unwrap();
}

#[tokio::test]
async fn a_tunnel_takes_up_a_connections_place() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = ServeSettings { max_connections: 1, ..Default::default() };
    let world = World::with(listener.local_addr().unwrap(), Default::default(), settings).await;
    let (mut client, mut server) = world.tunnel(&listener).await;
    let mut waiting = tokio::spawn(send_to(world.proxy, get("/")));
    // The tunnel works on, and as long as it does nobody else is let in.
    for _ in 0..20 {
        client.write_all(b"x").await.unwrap();
        within("a byte", tokio::io::AsyncReadExt::read_u8(&mut server)).await.unwrap();
        assert!(futures_util::FutureExt::now_or_never(listener.accept()).is_none(), "another was let in");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(!waiting.is_finished());
    drop((client, server));
    let (mut stream, _) = within("the next connection", listener.accept()).await.unwrap();
    read_head(&mut stream).await.unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    assert_eq!(within("an answer", &mut waiting).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_session_that_switches_protocols_unasked_is_refused_as_one_that_does_not_answer() {
    let (upstream, _heads) =
        raw_upstream("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").await;
    let response = World::before(upstream).await.get("/").await;
    assert_eq!(response.status(), 502);
    assert_eq!(text(response).await, "the session does not respond\n");
}

#[tokio::test]
async fn a_closed_tunnel_leaves_nothing_open() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::before(listener.local_addr().unwrap()).await;
    let (client, mut server): (TcpStream, TcpStream) = world.tunnel(&listener).await;
    drop(client);
    assert!(within("the end", tokio::io::AsyncReadExt::read_u8(&mut server)).await.is_err());
}

//! The limit of connections, upgrades that fail, and services that are not always ready.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use proxy_core::{Body, ServeSettings, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
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
    let settings = ServeSettings { max_connections: 1, ..Default::default() };
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

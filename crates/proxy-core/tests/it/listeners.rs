//! `serve` on other sources of connections than TCP.

use std::{
    convert::Infallible,
    future::{Pending, Ready, pending, ready},
    io,
    net::SocketAddr,
    time::Duration,
};

use futures_util::future::Either;
use http::{Request, Response};
use proxy_core::{Body, Listener, PeerAddr, ServeSettings, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};
use tower::service_fn;

use crate::test_proxy::*;

/// Responds with the client's address.
async fn show_peer(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let peer = request.extensions().get::<PeerAddr>().map(|peer| peer.0.ip());
    Ok(Response::new(Body::from(format!("{peer:?}"))))
}

#[tokio::test]
async fn a_unix_socket_has_no_address_of_its_client() {
    let path = std::env::temp_dir().join(format!("proxy-core-{}.sock", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let server = serve(listener, service_fn(show_peer), ServeSettings::new(), pending());
    let client = async {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut response = String::new();
        within("the response", stream.read_to_string(&mut response)).await.unwrap();
        response
    };
    let response = tokio::select! {
        response = client => response,
        () = server => unreachable!("the server never ends"),
    };
    std::fs::remove_file(&path).unwrap();
    assert!(response.ends_with("\r\n\r\nNone"), "{response}");
}

/// TCP, but the first handshake never ends.
struct StuckHandshake {
    listener: TcpListener,
    is_first: bool,
}

impl Listener for StuckHandshake {
    type Io = TcpStream;
    type Handshake = Either<Pending<io::Result<TcpStream>>, Ready<io::Result<TcpStream>>>;

    async fn accept(&mut self) -> io::Result<(Self::Handshake, Option<SocketAddr>)> {
        let (stream, peer) = TcpListener::accept(&self.listener).await?;
        let handshake = match std::mem::take(&mut self.is_first) {
            true => Either::Left(pending()),
            false => Either::Right(ready(Ok(stream))),
        };
        Ok((handshake, Some(peer)))
    }
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_ended() {
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let settings =
        ServeSettings::new().with_max_connections(1).with_header_timeout(Duration::from_millis(50));
    let listener = StuckHandshake { listener, is_first: true };
    let server = tokio::spawn(serve(listener, service_fn(show_peer), settings, pending()));
    let _first = TcpStream::connect(address).await.unwrap();
    // Accepted once the first connection has ended.
    assert_eq!(text(send_to(address, get("/")).await).await, "Some(127.0.0.1)");
    server.abort();
}

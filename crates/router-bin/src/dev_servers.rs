//! Connections to sessions' dev servers.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use pod_manager::{Relay, manager::Manager};
use proxy_core::{Connecting, Connector};
use session_key::SessionHash;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The longest head of a relay's answer, in bytes.
const MAX_HEAD_BYTES: usize = 1024;

/// A port of this machine's loopback.
pub(crate) struct Loopback(pub(crate) u16);

impl Connector for Loopback {
    fn connect(&self) -> Connecting {
        let connecting = connect_loopback(self.0);
        Box::pin(async { connecting.await.map(Into::into) })
    }
}

/// A port of this machine's loopback on which only processes of the session may listen.
pub(crate) struct OwnedPort {
    pub(crate) manager: Arc<Manager>,
    pub(crate) hash: SessionHash,
    pub(crate) port: u16,
}

impl Connector for OwnedPort {
    /// Checks who listens before and after connecting: the port may have been taken by another user's session
    /// since it was listed.
    fn connect(&self) -> Connecting {
        let (manager, hash, port) = (self.manager.clone(), self.hash, self.port);
        Box::pin(async move {
            let not_owned = || io::Error::other("the port belongs to another session");
            if !manager.owns_port(hash, port).await {
                return Err(not_owned());
            }
            let stream = connect_loopback(port).await?;
            if !manager.owns_port(hash, port).await {
                return Err(not_owned());
            }
            Ok(stream.into())
        })
    }
}

/// A port of a Pod's loopback, through the session's relay.
pub(crate) struct Tunnel {
    pub(crate) relay: Relay,
    pub(crate) port: u16,
}

impl Connector for Tunnel {
    fn connect(&self) -> Connecting {
        let (relay, port) = (self.relay.clone(), self.port);
        Box::pin(async move {
            let mut stream = TcpStream::connect(relay.address).await?;
            let mut request = format!(
                "CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\nProxy-Authorization: "
            )
            .into_bytes();
            request.extend_from_slice(relay.authorization.as_bytes());
            request.extend_from_slice(b"\r\n\r\n");
            stream.write_all(&request).await?;
            read_answer(&mut stream).await?;
            Ok(stream.into())
        })
    }
}

async fn connect_loopback(port: u16) -> io::Result<TcpStream> {
    match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Ok(stream) => Ok(stream),
        Err(error) => TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.map_err(|_| error),
    }
}

/// Reads the head of the answer to a CONNECT, and nothing of what follows it.
async fn read_answer(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
        if head.len() > MAX_HEAD_BYTES {
            return Err(io::Error::other("the relay's answer is too long"));
        }
    }
    if head.starts_with(b"HTTP/1.1 200 ") {
        return Ok(());
    }
    let status = String::from_utf8_lossy(&head);
    let status = status.lines().next().unwrap_or_default().to_owned();
    Err(io::Error::other(format!("the relay answered {status}")))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn tunnel_to(answer: &'static str) -> io::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let relay = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a head"));
            }
            stream.write_all(answer.as_bytes()).await.expect("the answer");
            String::from_utf8(head).expect("text")
        });
        let relay_of = Relay { address, authorization: "Bearer t0ken".parse().expect("a value") };
        let mut stream = Tunnel { relay: relay_of, port: 5173 }.connect().await?;
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await?;
        Ok(relay.await.expect("the relay") + &rest)
    }

    #[tokio::test]
    async fn a_tunnel_is_asked_for_with_the_sessions_token() {
        let seen = tunnel_to("HTTP/1.1 200 OK\r\n\r\nthe server speaks").await.expect("a tunnel");
        assert_eq!(
            seen,
            "CONNECT localhost:5173 HTTP/1.1\r\nHost: localhost:5173\r\nProxy-Authorization: Bearer t0ken\r\n\r\n\
             the server speaks"
        );
    }

    #[tokio::test]
    async fn a_refused_tunnel_is_an_error() {
        let error = tunnel_to("HTTP/1.1 502 Bad Gateway\r\n\r\n").await.expect_err("refused");
        assert_eq!(error.to_string(), "the relay answered HTTP/1.1 502 Bad Gateway");
    }
}

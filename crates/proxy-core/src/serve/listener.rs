//! `Listener`: where connections come from.

use std::{
    future::{Future, Ready, ready},
    io,
    net::SocketAddr,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};

use crate::tcp;

/// A source of connections for [`crate::serve`]. Implemented for TCP and Unix sockets; another one, such as
/// TLS over TCP, takes a few lines.
///
/// ```
/// use std::{io, net::SocketAddr};
///
/// use proxy_core::Listener;
/// use tokio::net::{TcpListener, TcpStream};
/// use tokio_rustls::{Accept, TlsAcceptor, server::TlsStream};
///
/// struct TlsListener {
///     tcp: TcpListener,
///     acceptor: TlsAcceptor,
/// }
///
/// impl Listener for TlsListener {
///     type Io = TlsStream<TcpStream>;
///     type Handshake = Accept<TcpStream>;
///
///     async fn accept(&mut self) -> io::Result<(Self::Handshake, Option<SocketAddr>)> {
///         let (stream, peer) = self.tcp.accept().await?;
///         stream.set_nodelay(true).ok();
///         Ok((self.acceptor.accept(stream), Some(peer)))
///     }
/// }
/// ```
pub trait Listener: Send {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;
    /// Completes a connection, such as by a TLS handshake. It runs in the connection's own task and counts
    /// against [`crate::ServeSettings::header_timeout`].
    type Handshake: Future<Output = io::Result<Self::Io>> + Send + 'static;

    /// Accepts the next connection and returns it with its client's address, if it has one
    /// ([`crate::PeerAddr`]). The future may be dropped at any time and must not lose a connection then.
    ///
    /// # Errors
    /// Errors are logged, and `serve` accepts again after a second, or at once if the error concerns one
    /// connection alone (`ConnectionAborted`, `ConnectionRefused`, `ConnectionReset`).
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Handshake, Option<SocketAddr>)>> + Send;
}

impl Listener for TcpListener {
    type Io = TcpStream;
    type Handshake = Ready<io::Result<TcpStream>>;

    async fn accept(&mut self) -> io::Result<(Self::Handshake, Option<SocketAddr>)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        tcp::configure(&stream);
        Ok((ready(Ok(stream)), Some(peer)))
    }
}

/// A TCP listener whose connections get their options from it, without a system call each: Linux copies them.
pub(super) struct ConfiguredListener(TcpListener);

impl ConfiguredListener {
    /// Sets the options of the listener's future connections.
    pub(super) fn new(listener: TcpListener) -> Self {
        tcp::configure(&listener);
        Self(listener)
    }
}

impl Listener for ConfiguredListener {
    type Io = TcpStream;
    type Handshake = Ready<io::Result<TcpStream>>;

    async fn accept(&mut self) -> io::Result<(Self::Handshake, Option<SocketAddr>)> {
        let (stream, peer) = self.0.accept().await?;
        if cfg!(not(target_os = "linux")) {
            tcp::configure(&stream);
        }
        Ok((ready(Ok(stream)), Some(peer)))
    }
}

#[cfg(unix)]
impl Listener for tokio::net::UnixListener {
    type Io = tokio::net::UnixStream;
    type Handshake = Ready<io::Result<Self::Io>>;

    async fn accept(&mut self) -> io::Result<(Self::Handshake, Option<SocketAddr>)> {
        let (stream, _) = tokio::net::UnixListener::accept(self).await?;
        Ok((ready(Ok(stream)), None))
    }
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::net::{TcpListener, TcpStream};

    use super::{ConfiguredListener, Listener};

    #[tokio::test]
    async fn connections_of_either_listener_send_at_once_and_detect_a_lost_peer() {
        async fn check(mut listener: impl Listener<Io = TcpStream>, address: std::net::SocketAddr) {
            let _client = TcpStream::connect(address).await.unwrap();
            let (handshake, _) = listener.accept().await.unwrap();
            let stream = handshake.await.unwrap();
            let socket = SockRef::from(&stream);
            assert!(socket.tcp_nodelay().unwrap());
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap().as_secs(), 60);
            assert_eq!(socket.tcp_keepalive_interval().unwrap().as_secs(), 20);
        }
        for is_configured in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            match is_configured {
                false => check(listener, address).await,
                true => check(ConfiguredListener::new(listener), address).await,
            }
        }
    }
}

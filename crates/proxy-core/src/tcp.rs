//! Socket options of every connection, to clients and to sessions.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Sends small writes at once, and detects within minutes that the other end has vanished (a closed laptop, a
/// lost node) even if there is nothing to send.
pub(crate) fn configure(stream: &TcpStream) {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(20));
    let configured =
        stream.set_nodelay(true).and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = configured {
        tracing::debug!(%error, "setting socket options failed");
    }
}

//! The address of the client's end of a connection.

use std::net::SocketAddr;

/// The address of the client's end of the connection: an extension of every request that [`crate::serve`]
/// passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

//! The dev servers of a session: which ports listen, and how they are reached.

use std::{fmt, net::SocketAddr};

use reqwest::header::HeaderValue;

/// The most ports of one session that are shown.
pub const MAX_PORTS: usize = 64;
/// The longest name of a process, in characters.
pub const MAX_PROCESS_CHARS: usize = 40;

/// What is known of a session's dev servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionPorts {
    /// The ports that listen, in order.
    pub listening: Vec<ListeningPort>,
    /// What passes connections on to servers that listen on the session's own loopback, if the session has
    /// it.
    pub relay: Option<Relay>,
}

/// A port on which a process of the session listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListeningPort {
    /// The port.
    pub port: u16,
    /// The process's name, for people.
    pub process: Option<String>,
}

/// An HTTP proxy in a session, which opens tunnels to the session's own ports (`CONNECT localhost:<port>`).
#[derive(Clone, PartialEq, Eq)]
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    /// The `Proxy-Authorization` that it requires.
    pub authorization: HeaderValue,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("address", &self.address).finish_non_exhaustive()
    }
}

impl SessionPorts {
    /// Returns the ports without a relay, in order and each once; too many are cut off.
    #[must_use]
    pub fn new(mut listening: Vec<ListeningPort>) -> Self {
        listening.sort();
        listening.dedup_by_key(|listening| listening.port);
        listening.truncate(MAX_PORTS);
        Self { listening, relay: None }
    }
}

//! Settings of [`crate::serve`].

use std::{fmt, sync::Arc, time::Duration};

use crate::refusal::{PlainRefusals, Refusals};

/// Limits of [`crate::serve`], and how it refuses requests.
#[derive(Clone)]
pub struct ServeSettings {
    /// How long a client may take to send a request's head, and to begin its first request (default 30 s).
    pub header_timeout: Duration,
    /// The longest head accepted, in bytes (default 64 KiB, at least 8 KiB). A longer one is answered with
    /// 431.
    pub max_head: usize,
    /// Maximum of open connections, tunnels included (default 16,384). Further ones wait in the kernel's
    /// queue.
    pub max_connections: usize,
    /// How long event streams, tunnels and requests may continue after the shutdown began (default 10 s).
    pub drain: Duration,
    /// Makes the responses to requests that have two framings (default [`PlainRefusals`]).
    pub refusals: Arc<dyn Refusals>,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            max_head: 64 * 1024,
            max_connections: 16_384,
            drain: Duration::from_secs(10),
            refusals: Arc::new(PlainRefusals),
        }
    }
}

impl fmt::Debug for ServeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeSettings")
            .field("header_timeout", &self.header_timeout)
            .field("max_head", &self.max_head)
            .field("max_connections", &self.max_connections)
            .field("drain", &self.drain)
            .finish_non_exhaustive()
    }
}

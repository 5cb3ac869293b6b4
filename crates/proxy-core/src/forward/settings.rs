//! Settings of [`crate::Forward`].

use std::time::Duration;

use crate::cookies::Cookies;

/// Limits of [`crate::Forward`], and what it guards and adds.
#[derive(Debug, Clone)]
pub struct ForwardSettings {
    /// How long opening a connection may take (default 5 s).
    pub connect_timeout: Duration,
    /// How long the response's head may take after the request was sent, or after its upload stalled (default
    /// 5 min, because an agent may think), accurate to a second. Bodies, event streams and tunnels have no
    /// limit.
    pub header_timeout: Duration,
    /// Maximum of idle connections per upstream (default 512).
    pub idle_per_upstream: usize,
    /// How long a connection may be idle (default 30 s).
    pub idle_timeout: Duration,
    /// Cookies that no session sees or sets.
    pub cookies: Cookies,
    /// `X-Forwarded-Proto`: how browsers reach the router.
    pub public_proto: &'static str,
}

impl Default for ForwardSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(300),
            idle_per_upstream: 512,
            idle_timeout: Duration::from_secs(30),
            cookies: Cookies::default(),
            public_proto: "https",
        }
    }
}

//! Settings of [`crate::serve`].

use std::{fmt, sync::Arc, time::Duration};

use crate::refusal::{PlainRefusals, Refusals};

/// Limits of [`crate::serve`], and how it refuses requests.
///
/// ```
/// use std::time::Duration;
///
/// use proxy_core::ServeSettings;
///
/// let settings = ServeSettings::new().with_max_connections(1_000).with_drain(Duration::from_secs(30));
/// assert_eq!(settings.max_connections, 1_000);
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct ServeSettings {
    /// How long a client may take to send a request's head, and to begin its first request (default 30 s).
    pub header_timeout: Duration,
    /// The longest head accepted, in bytes (default 64 KiB, at least 8 KiB). A longer one is answered with
    /// 431.
    pub max_head: usize,
    /// Maximum of open connections, tunnels included (default 16,384). Further ones wait in the kernel's
    /// queue.
    pub max_connections: usize,
    /// How long connections are still accepted after the shutdown began (default 0). It is the time in which
    /// load balancers must stop sending requests here, so end what they ask for (readiness) when it begins.
    pub shutdown_delay: Duration,
    /// How long event streams, tunnels and requests may continue after that (default 10 s).
    pub drain: Duration,
    /// Makes the responses to requests that have two framings (default [`PlainRefusals`]).
    pub refusals: Arc<dyn Refusals>,
}

impl ServeSettings {
    /// Returns the default settings.
    #[must_use]
    pub fn new() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            max_head: 64 * 1024,
            max_connections: 16_384,
            shutdown_delay: Duration::ZERO,
            drain: Duration::from_secs(10),
            refusals: Arc::new(PlainRefusals),
        }
    }

    /// Sets [`Self::header_timeout`].
    #[must_use]
    pub fn with_header_timeout(self, header_timeout: Duration) -> Self {
        Self { header_timeout, ..self }
    }

    /// Sets [`Self::max_head`].
    #[must_use]
    pub fn with_max_head(self, max_head: usize) -> Self {
        Self { max_head, ..self }
    }

    /// Sets [`Self::max_connections`].
    #[must_use]
    pub fn with_max_connections(self, max_connections: usize) -> Self {
        Self { max_connections, ..self }
    }

    /// Sets [`Self::shutdown_delay`].
    #[must_use]
    pub fn with_shutdown_delay(self, shutdown_delay: Duration) -> Self {
        Self { shutdown_delay, ..self }
    }

    /// Sets [`Self::drain`].
    #[must_use]
    pub fn with_drain(self, drain: Duration) -> Self {
        Self { drain, ..self }
    }

    /// Sets [`Self::refusals`].
    #[must_use]
    pub fn with_refusals(self, refusals: Arc<dyn Refusals>) -> Self {
        Self { refusals, ..self }
    }
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ServeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeSettings")
            .field("header_timeout", &self.header_timeout)
            .field("max_head", &self.max_head)
            .field("max_connections", &self.max_connections)
            .field("shutdown_delay", &self.shutdown_delay)
            .field("drain", &self.drain)
            .finish_non_exhaustive()
    }
}

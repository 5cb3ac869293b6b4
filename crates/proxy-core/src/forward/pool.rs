//! The pool of idle connections to upstreams.

use std::{
    collections::HashMap,
    error::Error,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{net::TcpStream, time::interval};

use super::{h1::Connection, settings::ForwardSettings};
use crate::{resolver::Connector, upstream_stream::UpstreamStream};

/// A stack of idle connections per upstream. The last one used is the next one used, so that the others
/// expire.
pub(super) struct Pool {
    stacks: Mutex<Stacks>,
    per_upstream: usize,
    /// How long a connection may be idle, in sweeps.
    idle_sweeps: u32,
    sweep_interval: Duration,
    header_timeout: Duration,
}

#[derive(Default)]
struct Stacks {
    by_upstream: HashMap<PoolKey, Arc<Stack>>,
    /// Whether [`sweep`] runs.
    sweeping: bool,
}

/// The idle connections to one upstream.
struct Stack {
    idle: Mutex<Idle>,
    per_upstream: usize,
    idle_sweeps: u32,
}

#[derive(Default)]
struct Idle {
    /// Each with the number of the sweep before it was returned.
    connections: Vec<(Box<Connection>, u32)>,
    /// The number of sweeps so far, which serves as a clock.
    sweeps: u32,
}

/// Whom a connection leads to. Sessions may have one address, at the same time or one after another, and
/// never share connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    pub(super) address: SocketAddr,
    pub(super) pool: u64,
    pub(super) has_connector: bool,
}

/// The way to one upstream: its idle connections, and how to open another one.
pub(super) struct Upstream {
    address: SocketAddr,
    stack: Arc<Stack>,
    header_timeout: Duration,
}

impl Pool {
    pub(super) fn new(settings: &ForwardSettings) -> Arc<Self> {
        let idle_timeout = settings.idle_timeout;
        let sweep_interval = (idle_timeout / 4).clamp(Duration::from_millis(20), Duration::from_secs(1));
        Arc::new(Self {
            stacks: Mutex::default(),
            per_upstream: settings.idle_per_upstream,
            idle_sweeps: idle_timeout.div_duration_f64(sweep_interval).ceil() as u32,
            sweep_interval,
            header_timeout: settings.header_timeout,
        })
    }

    pub(super) fn upstream(self: &Arc<Self>, key: PoolKey) -> Upstream {
        let mut stacks = self.stacks.lock();
        let stack = stacks.by_upstream.entry(key).or_insert_with(|| {
            let (per_upstream, idle_sweeps) = (self.per_upstream, self.idle_sweeps);
            Arc::new(Stack { idle: Mutex::default(), per_upstream, idle_sweeps })
        });
        let upstream =
            Upstream { address: key.address, stack: stack.clone(), header_timeout: self.header_timeout };
        if !std::mem::replace(&mut stacks.sweeping, true) {
            tokio::spawn(sweep(Sweeping(Arc::downgrade(self)), self.sweep_interval));
        }
        upstream
    }

    /// Drops connections that are closed or expired. Returns whether there are upstreams left.
    fn sweep(&self) -> bool {
        let mut stacks = self.stacks.lock();
        stacks.by_upstream.retain(|_, stack| {
            let is_empty = stack.sweep();
            // Nobody uses an upstream that only the pool knows.
            !is_empty || Arc::strong_count(stack) > 1
        });
        !stacks.by_upstream.is_empty()
    }
}

impl Stack {
    fn has_expired(&self, since: u32, sweeps: u32) -> bool {
        sweeps.wrapping_sub(since) > self.idle_sweeps
    }

    /// Drops connections that are closed or expired. Returns whether none are left.
    fn sweep(&self) -> bool {
        let mut idle = self.idle.lock();
        let Idle { connections, sweeps } = &mut *idle;
        *sweeps = sweeps.wrapping_add(1);
        connections
            .retain_mut(|(connection, since)| !self.has_expired(*since, *sweeps) && connection.is_open());
        connections.is_empty()
    }
}

/// Runs [`Pool::sweep`].
struct Sweeping(Weak<Pool>);

impl Drop for Sweeping {
    /// The runtime may end before others that use the pool.
    fn drop(&mut self) {
        if let Some(pool) = self.0.upgrade() {
            pool.stacks.lock().sweeping = false;
        }
    }
}

/// Sweeps the pool while it knows upstreams, so that connections that the upstream closed, and those to a
/// deleted session, are closed as well.
async fn sweep(sweeping: Sweeping, period: Duration) {
    let mut ticks = interval(period);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if !sweeping.0.upgrade().is_some_and(|pool| pool.sweep()) {
            return;
        }
    }
}

impl Upstream {
    /// Takes an idle connection.
    pub(super) fn check_out(&self) -> Option<PooledConnection> {
        let mut idle = self.stack.idle.lock();
        while let Some((connection, since)) = idle.connections.pop() {
            // Whether the upstream closed it is seen when the request is about to be sent.
            if !self.stack.has_expired(since, idle.sweeps) && connection.is_idle() {
                drop(idle);
                return Some(self.pooled(connection));
            }
        }
        None
    }

    /// Opens a connection.
    pub(super) async fn connect(
        &self,
        connector: Option<&dyn Connector>,
    ) -> Result<PooledConnection, Box<dyn Error + Send + Sync>> {
        let stream = match connector {
            Some(connector) => connector.connect().await?,
            None => UpstreamStream::from(TcpStream::connect(self.address).await?),
        };
        stream.configure();
        Ok(self.pooled(Box::new(Connection::new(stream, self.header_timeout))))
    }

    fn pooled(&self, connection: Box<Connection>) -> PooledConnection {
        PooledConnection { connection, stack: self.stack.clone() }
    }
}

/// A connection to an upstream. Dropping it closes it.
pub(super) struct PooledConnection {
    pub(super) connection: Box<Connection>,
    stack: Arc<Stack>,
}

impl PooledConnection {
    /// Returns the connection to the pool, if it can be used again. Its last response must have ended.
    pub(super) fn check_in(self) {
        let Self { connection, stack } = self;
        if !connection.is_idle() {
            return;
        }
        let mut idle = stack.idle.lock();
        let sweeps = idle.sweeps;
        if idle.connections.len() < stack.per_upstream {
            idle.connections.push((connection, sweeps));
        }
    }
}

//! Connections to upstreams, and the pool of idle ones.

use std::{
    collections::HashMap,
    error::Error,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use session_key::SessionHash;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{body::Body, resolver::Connector, tcp};

/// A stack of idle connections per upstream. The last one used is the next one used, so that the others
/// expire.
pub(super) struct Pool {
    idle: Mutex<Idle>,
    per_upstream: usize,
    idle_timeout: Duration,
}

#[derive(Default)]
struct Idle {
    stacks: HashMap<PoolKey, Vec<(SendRequest<Body>, Instant)>>,
    /// Whether [`sweep`] runs.
    sweeping: bool,
}

/// Whom a connection leads to. Sessions may have one address, at the same time or one after another, and
/// never share connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    pub(super) address: SocketAddr,
    pub(super) session: Option<SessionHash>,
    pub(super) has_connector: bool,
}

impl Pool {
    pub(super) fn new(per_upstream: usize, idle_timeout: Duration) -> Self {
        Self { idle: Mutex::default(), per_upstream, idle_timeout }
    }

    /// Takes an idle connection that can send a request now.
    pub(super) async fn check_out(self: &Arc<Self>, upstream: PoolKey) -> Option<PooledConnection> {
        loop {
            let mut sender = self.pop(upstream)?;
            // A connection that is not ready has just received the end of its last response or was closed;
            // which one is known within a moment.
            if sender.is_ready() || matches!(timeout(READY_TIMEOUT, sender.ready()).await, Ok(Ok(()))) {
                return Some(PooledConnection { pool: self.clone(), upstream, sender });
            }
        }
    }

    /// Opens a connection. Dropping it closes it.
    pub(super) async fn connect(
        self: &Arc<Self>,
        upstream: PoolKey,
        connector: Option<&dyn Connector>,
    ) -> Result<PooledConnection, Box<dyn Error + Send + Sync>> {
        let stream = match connector {
            Some(connector) => connector.connect().await?,
            None => TcpStream::connect(upstream.address).await?,
        };
        tcp::configure(&stream);
        let (sender, connection) = http1::Builder::new().handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to a session failed");
            }
        });
        Ok(PooledConnection { pool: self.clone(), upstream, sender })
    }

    fn pop(&self, upstream: PoolKey) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock();
        let stack = idle.stacks.get_mut(&upstream)?;
        while let Some((sender, since)) = stack.pop() {
            if !sender.is_closed() && since.elapsed() < self.idle_timeout {
                return Some(sender);
            }
        }
        None
    }

    /// Drops connections that are closed or expired. Returns whether any are left.
    fn sweep(&self) -> bool {
        let mut idle = self.idle.lock();
        for stack in idle.stacks.values_mut() {
            stack.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < self.idle_timeout);
        }
        idle.stacks.retain(|_, stack| !stack.is_empty());
        idle.sweeping = !idle.stacks.is_empty();
        idle.sweeping
    }
}

const READY_TIMEOUT: Duration = Duration::from_millis(20);

/// Sweeps the pool while it holds idle connections, so that those to a deleted session are closed as well.
async fn sweep(pool: Weak<Pool>, idle_timeout: Duration) {
    loop {
        sleep(idle_timeout.max(Duration::from_millis(100)) / 2).await;
        if !pool.upgrade().is_some_and(|pool| pool.sweep()) {
            return;
        }
    }
}

/// A connection to an upstream.
pub(super) struct PooledConnection {
    pool: Arc<Pool>,
    upstream: PoolKey,
    pub(super) sender: SendRequest<Body>,
}

impl PooledConnection {
    /// Returns the connection to the pool. Its last response must have ended.
    pub(super) fn check_in(self) {
        let Self { pool, upstream, sender } = self;
        if sender.is_closed() {
            return;
        }
        let mut idle = pool.idle.lock();
        let stack = idle.stacks.entry(upstream).or_default();
        if stack.len() < pool.per_upstream {
            stack.push((sender, Instant::now()));
        }
        if !std::mem::replace(&mut idle.sweeping, true) {
            tokio::spawn(sweep(Arc::downgrade(&pool), pool.idle_timeout));
        }
    }
}

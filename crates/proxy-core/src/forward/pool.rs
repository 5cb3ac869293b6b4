//! Idle connections to upstreams.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{net::TcpStream, time::Instant};

use crate::{Body, serve::keep_alive};

/// A stack of idle connections per upstream: the one used last is used next, so that the others age and go.
pub(super) struct Pool {
    idle: Mutex<Idle>,
    per_upstream: usize,
    keep: Duration,
}

#[derive(Default)]
struct Idle {
    stacks: HashMap<SocketAddr, Vec<(SendRequest<Body>, Instant)>>,
    /// Somebody looks after those that nobody uses.
    swept: bool,
}

impl Pool {
    pub(super) fn new(per_upstream: usize, keep: Duration) -> Self {
        Self { idle: Mutex::default(), per_upstream, keep }
    }

    /// An idle connection that can take a request now.
    pub(super) async fn take(&self, to: SocketAddr) -> Option<SendRequest<Body>> {
        loop {
            let mut sender = self.pop(to)?;
            if sender.is_ready() {
                return Some(sender);
            }
            // Its last response has just ended, or it is closed: either is known within a moment.
            if let Ok(Ok(())) = tokio::time::timeout(Duration::from_millis(20), sender.ready()).await {
                return Some(sender);
            }
        }
    }

    fn pop(&self, to: SocketAddr) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock();
        let stack = idle.stacks.get_mut(&to)?;
        while let Some((sender, since)) = stack.pop() {
            if !sender.is_closed() && since.elapsed() < self.keep {
                return Some(sender);
            }
        }
        None
    }

    /// Gives a connection back, once the response on it is over.
    fn check_in(self: &Arc<Self>, to: SocketAddr, sender: SendRequest<Body>) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock();
        let stack = idle.stacks.entry(to).or_default();
        if stack.len() < self.per_upstream {
            stack.push((sender, Instant::now()));
        }
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self), self.keep));
        }
    }

    /// Drops what is closed or too old; whether anything is left.
    fn sweep(&self) -> bool {
        let mut idle = self.idle.lock();
        for stack in idle.stacks.values_mut() {
            stack.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < self.keep);
        }
        idle.stacks.retain(|_, stack| !stack.is_empty());
        idle.swept = !idle.stacks.is_empty();
        idle.swept
    }
}

/// Goes on for as long as there are idle connections, so that one to a session that has gone does not stay.
async fn sweep(pool: Weak<Pool>, keep: Duration) {
    loop {
        tokio::time::sleep(keep.max(Duration::from_millis(100)) / 2).await;
        if !pool.upgrade().is_some_and(|pool| pool.sweep()) {
            return;
        }
    }
}

/// A connection that is to be given back.
pub(crate) struct PooledConnection {
    pub(super) pool: Arc<Pool>,
    pub(super) to: SocketAddr,
    pub(super) sender: SendRequest<Body>,
}

impl PooledConnection {
    pub(crate) fn check_in(self) {
        self.pool.check_in(self.to, self.sender);
    }
}

/// Opens a connection; its driver ends with it.
pub(super) async fn connect(
    to: SocketAddr,
) -> Result<SendRequest<Body>, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    keep_alive(&stream);
    let (sender, connection) = http1::Builder::new().handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a session ended");
        }
    });
    Ok(sender)
}

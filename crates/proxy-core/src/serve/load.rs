//! `Load`: how many connections a worker has.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// One connection of a worker; dropped when the connection and its tunnels have ended.
#[derive(Debug)]
pub(super) struct Load(Arc<AtomicUsize>);

impl Load {
    pub(super) fn new(connections: Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(connections)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

//! Ports for the sessions of this router.

use std::{
    collections::HashSet,
    io,
    net::{Ipv4Addr, TcpListener},
    sync::Arc,
};

use parking_lot::Mutex;

/// The ports in use, so that no two starts get the same one.
#[derive(Default)]
pub(super) struct Ports(Arc<Mutex<HashSet<u16>>>);

/// A port for one start; free again when it is dropped.
pub(super) struct Port {
    number: u16,
    ports: Ports,
}

impl Ports {
    /// Reserves a port that is free at this moment. If another program takes it first, opencode ends, and
    /// its next start gets another port.
    pub(super) fn reserve(&self) -> io::Result<Port> {
        // Listeners stay open until the end, so that the system returns another port each time.
        let mut listeners = Vec::new();
        loop {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let number = listener.local_addr()?.port();
            if self.0.lock().insert(number) {
                return Ok(Port { number, ports: Self(self.0.clone()) });
            }
            listeners.push(listener);
        }
    }
}

impl Port {
    pub(super) fn number(&self) -> u16 {
        self.number
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.ports.0.lock().remove(&self.number);
    }
}

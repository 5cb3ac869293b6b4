//! Finds the ports on which the sessions' processes listen, from Linux's `/proc`. Elsewhere none are found.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use opencode_session_agent::{Listener, MIN_PORT, listeners, process_name, socket_owners};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::proc_table::MARKER;
use crate::ports::{ListeningPort, SessionPorts};

/// The time between two looks at a session's ports.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long all sessions share what one look found.
const FRESH: Duration = Duration::from_millis(900);

/// What listens on this machine. The owners of sockets are looked for only when a socket is new or gone.
#[derive(Default)]
pub(super) struct PortFinder(Mutex<Found>);

#[derive(Default)]
struct Found {
    at: Option<Instant>,
    listeners: Vec<Listener>,
    /// By the value of [`MARKER`].
    ports: BTreeMap<String, Vec<ListeningPort>>,
}

impl PortFinder {
    /// Returns the ports of the session with this marker, now and after each change, without `own_port`.
    pub(super) fn watch(self: Arc<Self>, marker: String, own_port: u16) -> BoxStream<'static, SessionPorts> {
        let changes = stream::unfold((self, None::<SessionPorts>), move |(finder, known)| {
            let marker = marker.clone();
            async move {
                loop {
                    if known.is_some() {
                        sleep(INTERVAL).await;
                    }
                    let (shared, marker) = (finder.clone(), marker.clone());
                    let found =
                        tokio::task::spawn_blocking(move || shared.find(&marker, own_port)).await.ok()?;
                    if known.as_ref() != Some(&found) {
                        return Some((found.clone(), (finder, Some(found))));
                    }
                }
            }
        });
        changes.boxed()
    }

    fn find(&self, marker: &str, own_port: u16) -> SessionPorts {
        let mut found = self.0.lock();
        if found.at.is_none_or(|at| at.elapsed() >= FRESH) {
            let current = dev_listeners();
            if current != found.listeners {
                found.ports = by_marker(&current);
                found.listeners = current;
            }
            found.at = Some(Instant::now());
        }
        let mut ports = found.ports.get(marker).cloned().unwrap_or_default();
        ports.retain(|listening| listening.port != own_port);
        SessionPorts::new(ports)
    }
}

/// Returns whether something listens on this port, and all of it belongs to the session. Reads anew.
pub(super) fn owns(marker: &str, port: u16) -> bool {
    let mut sockets = dev_listeners();
    sockets.retain(|socket| socket.port == port);
    let owners = socket_owners(&inodes(&sockets));
    let owned = |socket: &Listener| {
        let owners = owners.get(&socket.inode).map(Vec::as_slice).unwrap_or_default();
        !owners.is_empty() && owners.iter().all(|pid| marker_of(*pid).as_deref() == Some(marker))
    };
    !sockets.is_empty() && sockets.iter().all(owned)
}

fn dev_listeners() -> Vec<Listener> {
    let mut all = listeners();
    all.retain(|listener| listener.port >= MIN_PORT);
    all
}

fn inodes(listeners: &[Listener]) -> HashSet<u64> {
    listeners.iter().map(|listener| listener.inode).collect()
}

fn by_marker(listeners: &[Listener]) -> BTreeMap<String, Vec<ListeningPort>> {
    let owners: HashMap<u64, Vec<u32>> = socket_owners(&inodes(listeners));
    let mut ports: BTreeMap<String, Vec<ListeningPort>> = BTreeMap::new();
    for listener in listeners {
        for pid in owners.get(&listener.inode).into_iter().flatten() {
            if let Some(marker) = marker_of(*pid) {
                let listening = ListeningPort { port: listener.port, process: process_name(*pid) };
                ports.entry(marker).or_default().push(listening);
                break;
            }
        }
    }
    ports
}

/// Returns the session's marker in the process's environment.
fn marker_of(pid: u32) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let prefix = format!("{MARKER}=");
    let value = environment.split(|&byte| byte == 0).find_map(|line| line.strip_prefix(prefix.as_bytes()))?;
    String::from_utf8(value.to_vec()).ok()
}

//! What a process holds: sockets, descriptors, tasks and memory.

use std::{fmt, net::SocketAddr, time::Duration};

use tokio::{runtime::Handle, time::sleep};

/// How long connections may take to close after their last byte. A passing test never waits this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is open now. Where there is no `/proc`, descriptors, sockets and resident memory are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Descriptors of this process.
    pub(crate) descriptors: usize,
    /// Sockets at the given ports, except those that listen or remember a connection that has ended.
    pub(crate) sockets: usize,
    /// Tasks of the proxy's runtimes.
    pub(crate) tasks: usize,
}

impl Counts {
    /// Counts now. `proxy` are the proxy's runtimes, `ports` are those of the proxy and of the upstreams.
    pub(crate) fn now(proxy: &[Handle], ports: &[SocketAddr]) -> Self {
        Self {
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            sockets: sockets(ports),
            tasks: proxy.iter().map(|runtime| runtime.metrics().num_alive_tasks()).sum(),
        }
    }

    /// Counts again until the result is no more than `expected`, and returns the last result.
    pub(crate) async fn settle(proxy: &[Handle], ports: &[SocketAddr], expected: Self) -> Self {
        eventually(|| Self::now(proxy, ports).is_within(expected)).await;
        Self::now(proxy, ports)
    }

    /// Whether no count is larger.
    pub(crate) fn is_within(self, expected: Self) -> bool {
        self.descriptors <= expected.descriptors
            && self.sockets <= expected.sockets
            && self.tasks <= expected.tasks
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { descriptors, sockets, tasks } = self;
        write!(f, "{descriptors} descriptors, {sockets} sockets, {tasks} tasks")
    }
}

/// Waits until `check` holds, and returns whether it does.
pub(crate) async fn eventually(mut check: impl FnMut() -> bool) -> bool {
    let mut waited = Duration::ZERO;
    while !check() {
        if waited > PATIENCE {
            return false;
        }
        sleep(Duration::from_millis(10)).await;
        waited += Duration::from_millis(10);
    }
    true
}

/// Returns the resident memory in bytes (`man 5 proc`: statm counts pages); 0 without /proc.
pub(crate) fn resident_memory() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

/// Counts the kernel's sockets with one of these addresses at either end (`man 5 proc`: /proc/net/tcp).
fn sockets(ports: &[SocketAddr]) -> usize {
    const TIME_WAIT: &str = "06";
    const LISTEN: &str = "0A";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let is_ours = |address: &str| {
        let port = address.rsplit(':').next().and_then(|port| u16::from_str_radix(port, 16).ok());
        ports.iter().any(|ours| Some(ours.port()) == port)
    };
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|fields| fields.len() > 3 && (is_ours(fields[1]) || is_ours(fields[2])))
        .filter(|fields| !matches!(fields[3], TIME_WAIT | LISTEN))
        .count()
}

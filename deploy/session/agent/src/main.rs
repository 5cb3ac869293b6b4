//! The agent of a session: runs beside opencode, for the router alone.
//!
//! It listens on [`AGENT_PORT`], or on the port that is its argument, and speaks a part of HTTP/1.1:
//!
//! - `CONNECT localhost:<port>` opens a tunnel to a dev server of the session, also to one that listens on
//!   loopback only.
//! - `GET /ports` answers with a line of JSON for the ports that listen, and another one after each change.
//!
//! Every request needs the token in `OPENCODE_SESSION_AGENT_TOKEN`.

#![forbid(unsafe_code)]

mod request;
mod tunnel;

use std::{
    collections::{BTreeMap, HashSet},
    env,
    io::{self, Write},
    net::{Ipv6Addr, TcpListener, TcpStream},
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use opencode_session_agent::{AGENT_PORT, Listener, is_dev_port, listeners, process_name, socket_owners};

use crate::request::{Request, Target};

/// How many connections are open at the same time.
const MAX_CONNECTIONS: usize = 512;
/// How many ports are reported.
const MAX_PORTS: usize = 64;
/// The time between two looks at the ports; all routers share what one look found.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
const FRESH: Duration = Duration::from_millis(900);
/// An empty line is sent after this time without a change, so that a vanished router is noticed.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long a write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the port may be in use by the agent before.
const BIND_TIMEOUT: Duration = Duration::from_secs(30);
const STACK_BYTES: usize = 128 * 1024;

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "the agent's whole configuration")]
    let token = env::var("OPENCODE_SESSION_AGENT_TOKEN");
    let Ok(token) = token else {
        eprintln!(
            "opencode-session-agent: OPENCODE_SESSION_AGENT_TOKEN is not set; no router uses this agent"
        );
        return ExitCode::FAILURE;
    };
    let port = match env::args().nth(1).map(|port| port.parse()) {
        None => AGENT_PORT,
        Some(Ok(port)) => port,
        Some(Err(_)) => {
            eprintln!("usage: opencode-session-agent [PORT]");
            return ExitCode::FAILURE;
        }
    };
    let listener = match bind(port) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("opencode-session-agent: port {port} can't be used: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Ok(address) = listener.local_addr() {
        println!("opencode-session-agent: listening on port {}", address.port());
    }
    let token: Arc<str> = token.into();
    let connections = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((client, _)) = listener.accept() else {
            // Out of descriptors, for example.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        if connections.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (token, count) = (token.clone(), connections.clone());
        let spawned = thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
            // The other side sees what went wrong.
            let _ = handle(client, &token);
            count.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Listens on IPv6 and IPv4, or on IPv4 alone if there is no IPv6.
fn bind(port: u16) -> io::Result<TcpListener> {
    let begun = Instant::now();
    loop {
        let bound = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
            .or_else(|_| TcpListener::bind(("0.0.0.0", port)));
        match bound {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && begun.elapsed() < BIND_TIMEOUT => {
                thread::sleep(Duration::from_millis(200));
            }
            bound => return bound,
        }
    }
}

fn handle(mut client: TcpStream, token: &str) -> io::Result<()> {
    client.set_nodelay(true)?;
    client.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let request = match Request::read(&mut client) {
        Ok(request) => request,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return refuse(&mut client, "400 Bad Request");
        }
        Err(error) => return Err(error),
    };
    if !request.has_token(token) {
        return refuse(&mut client, "401 Unauthorized");
    }
    match request.target {
        Target::Tunnel(port) if !is_dev_port(port) => refuse(&mut client, "403 Forbidden"),
        Target::Tunnel(port) => match tunnel::connect(port) {
            Ok(server) => {
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
                tunnel::run(client, server)
            }
            Err(_) => refuse(&mut client, "502 Bad Gateway"),
        },
        Target::Ports => report_ports(&mut client),
        Target::Unknown => refuse(&mut client, "404 Not Found"),
    }
}

fn refuse(client: &mut TcpStream, status: &str) -> io::Result<()> {
    write!(client, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
}

/// Reports the ports that listen, until the router closes the connection.
fn report_ports(client: &mut TcpStream) -> io::Result<()> {
    client
        .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/x-ndjson\r\n\r\n")?;
    let mut reported = None;
    let mut reported_at = Instant::now();
    loop {
        let sockets = dev_listeners();
        if reported.as_ref() != Some(&sockets) {
            let owners = socket_owners(&sockets.iter().map(|socket| socket.inode).collect::<HashSet<_>>());
            let name = |inode| owners.get(inode)?.iter().copied().find_map(process_name);
            let ports: BTreeMap<u16, Option<String>> =
                sockets.iter().map(|socket| (socket.port, name(&socket.inode))).collect();
            let ports: Vec<String> =
                ports.iter().take(MAX_PORTS).map(|(port, name)| json(*port, name.as_deref())).collect();
            client.write_all(format!("[{}]\n", ports.join(",")).as_bytes())?;
            (reported, reported_at) = (Some(sockets), Instant::now());
        } else if reported_at.elapsed() >= HEARTBEAT {
            client.write_all(b"\n")?;
            reported_at = Instant::now();
        }
        thread::sleep(SCAN_INTERVAL);
    }
}

fn dev_listeners() -> Vec<Listener> {
    static LAST: Mutex<Option<(Instant, Vec<Listener>)>> = Mutex::new(None);
    // A look does not panic.
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    match &*last {
        Some((at, sockets)) if at.elapsed() < FRESH => sockets.clone(),
        _ => {
            let mut sockets = listeners();
            sockets.retain(|socket| is_dev_port(socket.port));
            *last = Some((Instant::now(), sockets.clone()));
            sockets
        }
    }
}

fn json(port: u16, process: Option<&str>) -> String {
    match process {
        None => format!("{{\"port\":{port}}}"),
        // Control characters are removed already.
        Some(name) => {
            let name = name.replace('\\', "\\\\").replace('"', "\\\"");
            format!("{{\"port\":{port},\"process\":\"{name}\"}}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        assert_eq!(json(5173, Some("a\"b\\c")), r#"{"port":5173,"process":"a\"b\\c"}"#);
        assert_eq!(json(5173, None), r#"{"port":5173}"#);
    }
}

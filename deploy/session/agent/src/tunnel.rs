//! Copies bytes between the router and a dev server.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use opencode_session_agent::listeners;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A tunnel on which nothing has moved for so long is closed: the router may have vanished.
const IDLE_TIMEOUT: Duration = Duration::from_secs(6 * 60 * 60);
/// How often an idle tunnel is looked at.
const IDLE_CHECK: Duration = Duration::from_secs(60);

/// Connects to whatever listens on this port: on loopback, else on the address that it is bound to.
pub(crate) fn connect(port: u16) -> io::Result<TcpStream> {
    let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let bound =
        listeners().into_iter().filter(|listener| listener.port == port).map(|listener| listener.address);
    let mut last = io::ErrorKind::ConnectionRefused.into();
    for address in loopback.into_iter().chain(bound.filter(|address| !address.is_unspecified())) {
        match TcpStream::connect_timeout(&SocketAddr::new(address, port), CONNECT_TIMEOUT) {
            Ok(server) => {
                server.set_nodelay(true)?;
                return Ok(server);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Copies in both directions until both sides have ended; the end of one side is passed on.
pub(crate) fn run(client: TcpStream, server: TcpStream) -> io::Result<()> {
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(IDLE_CHECK))?;
        stream.set_write_timeout(None)?;
    }
    let moved = Moved { begun: Instant::now(), seconds: Arc::default() };
    let (upload, upload_moved) = ((client.try_clone()?, server.try_clone()?), moved.clone());
    let uploading = thread::Builder::new()
        .stack_size(super::STACK_BYTES)
        .spawn(move || copy(upload.0, upload.1, &upload_moved))?;
    copy(server, client, &moved);
    let _ = uploading.join();
    Ok(())
}

/// When bytes last moved, in either direction.
#[derive(Clone)]
struct Moved {
    begun: Instant,
    seconds: Arc<AtomicU64>,
}

impl Moved {
    fn set(&self) {
        self.seconds.store(self.begun.elapsed().as_secs(), Ordering::Relaxed);
    }

    fn idle_for(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_secs(self.seconds.load(Ordering::Relaxed)))
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, moved: &Moved) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(length) => {
                moved.set();
                if to.write_all(&buffer[..length]).is_err() {
                    break;
                }
                moved.set();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
                    && moved.idle_for() < IDLE_TIMEOUT => {}
            Err(_) => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

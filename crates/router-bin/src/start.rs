//! What can go wrong at the start, each with a sentence that says what to do, and what is said when nothing did.

use std::{
    io::{self, ErrorKind, Write as _},
    net::SocketAddr,
    path::Path,
};

use anyhow::anyhow;
use session_key::HostScheme;
use tokio::net::TcpListener;

use crate::config::{Config, LogFormat};

/// Listens on an address; `variable` is what sets its port.
///
/// # Errors
/// A sentence that says why it can't, and what to do.
pub(crate) async fn listen(address: SocketAddr, variable: &str) -> anyhow::Result<TcpListener> {
    let port = address.port();
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow!(
            "Port {port} on {} is taken by another program, perhaps by another router. \
             End it, or choose another port, like this: {variable}={} make run",
            address.ip(),
            other_port(port),
        ),
        ErrorKind::PermissionDenied => anyhow!(
            "You may not listen on port {port}: ports below 1024 are for the system. \
             Choose another one, like this: {variable}={} make run",
            other_port(port),
        ),
        ErrorKind::AddrNotAvailable => {
            anyhow!("This machine has no address {}. Correct LISTEN_ADDRESS.", address.ip())
        }
        _ => anyhow!("The router can't listen on {address} ({variable}): {error}."),
    })
}

/// Listens on an address if the machine has it. A program that has the port there already would be shown by
/// browsers in the router's place, so that is refused too, unless the port is one that the kernel chose.
///
/// # Errors
/// A sentence that says that the port is taken, and what to do.
pub(crate) async fn listen_if_there(
    address: SocketAddr,
    any_port: bool,
) -> anyhow::Result<Option<TcpListener>> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == ErrorKind::AddrInUse && !any_port => {
            listen(address, "PORT").await.map(Some)
        }
        Err(_) => Ok(None),
    }
}

/// A port to suggest in place of one that can't be had.
fn other_port(port: u16) -> u16 {
    if port < 1024 { port + 3000 } else { port.checked_add(100).unwrap_or(3100) }
}

/// Makes sure that the state folder is there and can be written to, readable by its owner alone if it is new.
///
/// # Errors
/// A sentence that says why it can't.
pub(crate) fn prepare_folder(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.and_then(|()| tempfile_in(folder)).map_err(|error| {
        anyhow!(
            "Sessions are kept in {}, and that folder can't be written to ({}). \
             Make it writable, or choose another one, like this: STATE_DIR=/path/to/folder make run",
            folder.display(),
            plain(&error),
        )
    })
}

/// Whether a file can be made there; permissions alone do not tell (read-only file systems, quotas).
fn tempfile_in(folder: &Path) -> io::Result<()> {
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    std::fs::write(&probe, b"")?;
    std::fs::remove_file(probe)
}

/// An error of the system without its number.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_ascii_lowercase()
}

/// What is said of the backend once the router is up.
pub(crate) struct About {
    /// What it stands on, with its version.
    pub(crate) with: String,
    /// Where sessions live.
    pub(crate) place: String,
    /// What becomes of them when the router ends.
    pub(crate) end: &'static str,
}

/// Says that the router is up: to a person in words on standard output, and in a line of the log.
pub(crate) fn announce(
    config: &Config,
    scheme: &HostScheme,
    [public, health]: [SocketAddr; 2],
    about: &About,
) {
    let url = format!("{}://{}", config.names.proto, scheme.domain());
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(listening = %format_args!("http://{public}"), %url, %health, sessions = about.place, with = about.with, version, "the router is up");
    if config.log_format == LogFormat::Text {
        // Where something stands in front of the router, its own address is worth a line.
        let behind = scheme.domain() != format!("localhost:{}", public.port());
        let listens = if behind { format!("    Listens    http://{public}\n") } else { String::new() };
        let About { with, place, end } = about;
        let banner = format!(
            "\n  opencode-router {version} is up, with {with}\n\n{listens}\
             \x20   Open it    {url}\n\
             \x20   Sessions   {place}\n\
             \x20   Health     http://{health}/readyz\n\
             \x20   Stop it    Ctrl-C  ({end})\n\n",
        );
        // Nobody may be reading any more; the router serves all the same.
        let mut out = io::stdout();
        let _unheard = out.write_all(banner.as_bytes()).and_then(|()| out.flush());
    }
}

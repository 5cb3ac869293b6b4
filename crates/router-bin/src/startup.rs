//! Steps of the startup whose errors tell the operator what to do.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    path::Path,
};

use anyhow::anyhow;
use tokio::net::TcpListener;

use crate::io_error;

/// Listens on an address; `variable` is the one that sets its port.
///
/// # Errors
/// A sentence that says why it can't listen, and what to do.
pub(crate) async fn listen(address: SocketAddr, variable: &str) -> anyhow::Result<TcpListener> {
    let port = address.port();
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow!(
            "Port {port} on {} is in use by another program, perhaps by another router. Stop that program, \
             or choose another port: {variable}={} make run",
            address.ip(),
            other_port(port),
        ),
        ErrorKind::PermissionDenied => anyhow!(
            "Port {port} needs root: ports below 1024 are reserved for the system. Choose another port: \
             {variable}={} make run",
            other_port(port),
        ),
        ErrorKind::AddrNotAvailable => {
            anyhow!("This machine does not have the address {}. Correct LISTEN_ADDRESS.", address.ip())
        }
        _ => anyhow!("The router can't listen on {address} ({variable}): {}.", io_error::describe(&error)),
    })
}

/// Listens on an address if the machine has it. Another program on that address would be shown by browsers
/// instead of the router, so an occupied port is an error, unless the kernel chose the port (`is_any_port`).
///
/// # Errors
/// A sentence that says that the port is in use, and what to do.
pub(crate) async fn listen_if_available(
    address: SocketAddr,
    variable: &str,
    is_any_port: bool,
) -> anyhow::Result<Option<TcpListener>> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == ErrorKind::AddrInUse && !is_any_port => {
            listen(address, variable).await.map(Some)
        }
        Err(_) => Ok(None),
    }
}

/// Returns a port to suggest instead of one that is not available.
fn other_port(port: u16) -> u16 {
    if port < 1024 { port + 3000 } else { port.checked_add(100).unwrap_or(3100) }
}

/// Makes sure that the state folder exists and is writable. A new one is readable by its owner only.
///
/// # Errors
/// A sentence that says what is wrong with the folder, and what to do.
pub(crate) fn prepare_state_dir(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    created.and_then(|()| write_probe(folder)).map_err(|error| {
        anyhow!(
            "The state folder {} can't be written to ({}). Make it writable, or choose another one: \
             STATE_DIR=/path/to/folder make run",
            folder.display(),
            io_error::describe(&error),
        )
    })
}

/// Creates and removes a file. Permissions alone do not suffice: the file system may be read-only or the
/// quota used up.
fn write_probe(folder: &Path) -> io::Result<()> {
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    std::fs::write(&probe, b"")?;
    std::fs::remove_file(probe)
}

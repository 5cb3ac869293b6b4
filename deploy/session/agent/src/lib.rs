//! Finds the TCP ports that listen on this machine, and the processes that they belong to.
//!
//! Everything is read from Linux's `/proc`. On other systems there is nothing to read, and the lists are
//! empty.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod listener;
mod process;

pub use listener::{Listener, listeners};
pub use process::{process_name, socket_inodes, socket_owners};

/// The lowest port of a dev server.
pub const MIN_PORT: u16 = 1024;
/// The port on which the agent listens, beside opencode's.
pub const AGENT_PORT: u16 = 4094;
/// The port of opencode in a Pod.
pub const OPENCODE_PORT: u16 = 4096;
/// The port of a browser's DevTools, which give whoever connects the browser.
pub const DEVTOOLS_PORT: u16 = 9222;

/// Whether a port of a Pod may be a dev server's.
#[must_use]
pub fn is_dev_port(port: u16) -> bool {
    port >= MIN_PORT && !matches!(port, AGENT_PORT | OPENCODE_PORT | DEVTOOLS_PORT)
}

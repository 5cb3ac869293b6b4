//! The layers one by one, and the whole stack on real loopback sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod activity;
mod bodies;
mod connections;
mod dev_servers;
mod drain;
mod embed;
mod headers;
mod identity;
mod memory;
mod origin;
mod pool;
mod protocol;
mod replay;
mod single_layers;
mod stack;
mod test_proxy;
mod tunnels;
mod wake;

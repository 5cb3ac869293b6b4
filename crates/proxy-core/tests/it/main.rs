//! The layers one by one, and the whole stack on real loopback sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod activity;
mod back_pressure;
mod bodies;
mod connections;
mod connectors;
mod dev_servers;
mod drain;
mod embed;
mod examples;
mod headers;
mod identity;
mod listeners;
mod observer;
mod origin;
mod pool;
mod protocol;
mod replay;
mod semantics;
mod single_layers;
mod stack;
mod test_proxy;
mod tunnels;
mod wake;
mod workers;

//! The layers alone, and the whole stack on real loopback sockets.
#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod activity;
mod alone;
mod bodies;
mod connections;
mod drain;
mod embed;
mod headers;
mod identity;
mod layers;
mod memory;
mod origin;
mod pool;
mod protocol;
mod tunnels;
mod world;

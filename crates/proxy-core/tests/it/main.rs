//! The layers alone, and the whole stack on real loopback sockets.

mod activity;
mod bodies;
mod drain;
mod embed;
mod headers;
mod identity;
mod layers;
mod memory;
mod pool;
mod protocol;
mod tunnels;
mod world;

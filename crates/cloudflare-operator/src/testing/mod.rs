//! A stand-in for Cloudflare's API, for tests.
//!
//! It behaves as documented, and where the documentation is silent, as recordings of the real API show: ids,
//! paging and filters of the list of records, versions and rules of the tunnel's document, error codes, the
//! rate limit, latency, and faults on demand.
//!
//! - [`seed`]: what it starts with
//! - [`model`]: the zone and the tunnel, in memory; a function from request to answer
//! - [`faults`]: what goes wrong, when
//! - [`stand_in`]: both behind one lock; also a
//!   [`Transport`](crate::cloudflare::transport::Transport) without sockets
//! - [`server`]: the same over HTTP

pub mod faults;
pub mod model;
mod records;
mod refusal;
pub mod seed;
pub mod server;
pub mod stand_in;

pub use faults::{Fault, FaultKind};
pub use model::Model;
pub use seed::Seed;
pub use server::Server;
pub use stand_in::{Exchange, StandIn};

//! The JSON interface of opencode-router, as described in the committed `openapi.json`.
//!
//! - [`wire`]: every type that is sent or received as JSON. No other crate has such types.
//! - `server` (feature `server`): the axum handlers over a `pod_manager::Manager`.
//! - `client` (feature `client`): the typed client that the CLI and the tests use.
//! - `view` (feature `view`): the conversion from the manager's view of a session to wire types.
//! - `testing` (feature `test-util`): the routes on a loopback socket, over a backend in memory.

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "test-util")]
pub mod testing;
#[cfg(feature = "view")]
pub mod view;
pub mod wire;

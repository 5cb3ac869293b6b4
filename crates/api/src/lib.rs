//! The JSON surface of opencode-router.
//!
//! [`wire`] holds every type that travels as JSON: no other crate's types do. With the feature
//! `server`, `server` has the axum handlers over a `pod_manager::Manager`; with `client`, `client`
//! has the typed client that the CLI and the tests use; with `view` alone, `view` turns what is seen of a session into
//! what travels. All of it is one contract, written down in the committed `openapi.json`.

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "test-util")]
pub mod testing;
#[cfg(feature = "view")]
pub mod view;
pub mod wire;

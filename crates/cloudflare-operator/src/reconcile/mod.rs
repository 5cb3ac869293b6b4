//! What has to change at Cloudflare: pure functions of the desired hosts and the present state.
//!
//! - [`action`]: the words for what changes, and for what stays different
//! - [`dns`]: the records
//! - [`tunnel`]: the tunnel's document

pub mod action;
pub mod dns;
pub mod tunnel;

pub use action::{Action, Conflict, Note};

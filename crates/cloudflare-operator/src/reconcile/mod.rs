//! What has to change at Cloudflare: pure functions of the desired hosts and the present state.
//!
//! - [`action`]: the words for what changes, and for what stays different
//! - [`ownership`]: whether a record or rule is ours
//! - [`dns`]: the records
//! - [`tunnel`]: the tunnel's document

pub mod action;
pub mod dns;
pub mod ownership;
pub mod tunnel;

pub use action::{Action, Conflict, Note};
pub use ownership::{COMMENT, Ownership};

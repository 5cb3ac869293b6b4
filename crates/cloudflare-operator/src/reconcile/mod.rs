//! What has to change at Cloudflare: pure functions of the desired hosts and the present state.

pub mod dns;
pub mod tunnel;

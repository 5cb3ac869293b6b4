//! Tests of the crate from outside.

mod commands;
mod conflicts;
mod contract;
mod first_prompt;
mod follower;
mod follower_figures;
mod idle;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod local;
mod races;
mod real_opencode;
pub(crate) mod resume;
mod session_events;
mod test_manager;
mod wake;

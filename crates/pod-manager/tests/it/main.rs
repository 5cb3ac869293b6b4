//! The crate, from outside.

mod conflicts;
mod contract;
mod greeting;
mod house;
mod idle;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod local;
mod races;
mod real_opencode;
mod resume;
mod verbs;

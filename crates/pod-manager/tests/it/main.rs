//! The crate, from outside.

mod contract;
mod greeting;
mod house;
mod idle;
mod local;
mod races;
mod real_opencode;
mod verbs;

//! The composition root of opencode-router: configuration, the whole stack on one page, the embedded
//! site, health and metrics. The binary is `main.rs`; everything it does is here, so that tests can
//! do it too.

mod audited;
mod backends;
pub mod cli;
pub mod compose;
pub mod config;
pub mod health;
pub mod logging;
pub mod metrics;
mod observe;
mod opencode;
mod refusals;
pub mod run;
mod sessions;
mod shield;
pub mod site;
pub mod stack;
mod start;

pub use sessions::Ports;

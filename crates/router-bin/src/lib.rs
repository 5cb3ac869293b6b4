//! The composition root of opencode-router: configuration, the whole stack on one page, the embedded
//! site, health and metrics. The binary is `main.rs`; everything it does is here, so that tests can
//! do it too.

pub mod cli;
pub mod config;
pub mod site;

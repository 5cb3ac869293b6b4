//! The operator's tests that need more than one module.

mod cloudflare;
mod config;
mod documentation;
mod kubernetes;

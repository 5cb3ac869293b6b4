//! Integration tests of the router's program.

#![expect(clippy::disallowed_methods, reason = "a test reads whole answers of the servers that it started")]

mod app;
mod audit;
mod config;
mod documentation;
mod import_directions;
mod import_table;
mod kubernetes;
mod metrics;
mod network_policies;
mod otlp_collector;
mod program;
mod prose;
mod session_lists;
mod site;

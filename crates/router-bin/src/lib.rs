//! The router's program: configuration, the service stack, the embedded site, health and metrics. `main.rs`
//! only calls this library, so that tests can run the whole router in their process.

mod administrators;
pub mod app;
mod attach;
pub mod audit;
mod backend;
mod banner;
mod catch_panic;
pub mod cli;
pub mod config;
mod credentials;
mod dev_servers;
mod ending_events;
mod event_logs;
pub mod health;
mod io_error;
pub mod logging;
pub mod metrics;
mod observe;
mod on_runtime;
mod opencode_version;
mod own_github_token;
mod refusals;
mod reports;
mod request_id;
mod resolver;
pub mod run;
pub mod site;
pub mod stack;
pub mod start_tracker;
mod startup;
mod telemetry;
mod waker;

pub use administrators::Administrators;
pub use resolver::PortAccess;

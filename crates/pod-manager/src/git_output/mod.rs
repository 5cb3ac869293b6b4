//! Reads what git prints: its progress, and the cause of a failure. Both backends use it.

mod classify;
mod failure;
mod progress;
mod sanitize;

pub(crate) use failure::{Machine, branch_not_found, clone_failure};
#[cfg(all(feature = "local", unix))]
pub(crate) use failure::{checkout_failure, disk_full};
pub(crate) use progress::{Progress, parse as parse_progress};
pub(crate) use sanitize::{redact_urls, strip_control};

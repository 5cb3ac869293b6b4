//! Reads what git prints: its progress, and the cause of a failure. Both backends use it.

mod classify;
mod progress;
mod sanitize;

pub(crate) use classify::{classify, last_error, redact_urls};
pub(crate) use progress::{Progress, parse as parse_progress};
pub(crate) use sanitize::strip_control;

//! The objects of a session, as pure functions of the session and the settings.

pub mod chromium;
mod fields;
pub mod names;
pub mod patch;
pub mod pod;
pub mod pull_pod;
pub mod pvc;
pub mod secret;
pub mod validate;

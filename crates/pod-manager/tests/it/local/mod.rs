//! Sessions as processes and folders of this machine.

mod branches;
mod cloning;
mod contract;
mod crash;
mod dev_servers;
mod fake_opencode;
mod files;
pub(crate) mod harness;
mod opencode;
mod processes;
mod unsaved;
mod user_secrets;

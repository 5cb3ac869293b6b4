//! The router's program with the real opencode, which `make opencode` installs.

mod lifecycle;
mod session;
mod startup_errors;
mod test_router;
mod traces;

pub(crate) use test_router::{TestHome, TestRouter, eventually};

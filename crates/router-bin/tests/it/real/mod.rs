//! The real program with the real opencode (`make opencode` installs it): its life from start to end.

mod house;
mod life;
mod refused;
mod session;

pub(crate) use house::{House, Router, eventually};

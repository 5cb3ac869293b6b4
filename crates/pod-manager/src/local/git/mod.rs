//! The git commands of a session: clone, refresh, and find unsaved work. Each is a process group of its own
//! that can be cancelled, asks no questions, and gets values as arguments, never through a shell.

mod branch;
mod clone;
mod command;
mod programs;
mod unsaved;

pub(super) use clone::prepare;
pub(super) use command::Git;
pub(super) use unsaved::unsaved_work;

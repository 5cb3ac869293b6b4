//! Sessions as child processes and folders of this machine.
//!
//! Each session has a folder in the state folder (`sessions/<hash>`) with its repository, opencode's data and
//! the log, and one task that drives it: clone, start `opencode serve`, wait until it is healthy,
//! restart it after a crash, stop it. A command is written to the folder's `session.json` before it returns,
//! so that the next router knows it.
//!
//! The sessions' processes end with the router. After a router that was killed, the next one first ends what
//! was left running: there are never two processes on one folder.
//!
//! | file | for |
//! |---|---|
//! | backend · context | the backend, and what its tasks share |
//! | actor · event · report · status | one session's task: its inputs, and the status that it publishes |
//! | run · run_context · serve · ports | one run: from the clone to the end of opencode |
//! | git/ | clone, refresh and inspect a repository |
//! | process_group · proc_table · environment · log · port_finder | child processes |
//! | state_folder · session_file · secret_files · files | what outlasts the router |
//! | config · error · failure | settings, and what can go wrong |

mod actor;
mod backend;
mod config;
mod context;
mod environment;
mod error;
mod event;
mod failure;
mod files;
mod git;
mod log;
mod port_finder;
mod ports;
mod proc_table;
mod process_group;
mod report;
mod run;
mod run_context;
mod secret_files;
mod serve;
mod session_file;
mod state_folder;
mod status;

pub use crate::publisher::UNREAD_CHANGES;
pub use backend::LocalBackend;
pub use config::{Limits, LocalSettings};
pub use error::LocalError;

//! A backend in memory, for tests: it keeps every promise of [`contract`](crate::contract), and a test can
//! hold it in any state.
//!
//! A start passes the stages `Cloning` and `Starting` (its "process" exists from the latter on) and ends
//! `Running`, or `Failed` if a failure was [requested](MemoryBackend::fail_starts). Nothing takes time
//! unless it is [held](MemoryBackend::hold) or [delayed](MemoryBackend::delay_commands).
//!
//! ```
//! # async fn example() {
//! use std::sync::Arc;
//! use pod_manager::{ManualClock, MemoryBackend, model::Stage};
//!
//! let backend = MemoryBackend::new(Arc::new(ManualClock::default()));
//! backend.hold(Stage::Cloning);
//! // Every start now stays in this stage, until:
//! backend.release(Stage::Cloning);
//! # }
//! ```

mod backend;
mod controls;
mod faults;
mod stored_session;

pub use backend::MemoryBackend;
pub use faults::{BackendCommand, Restart};

pub use crate::{
    opencode::fake::{FakeOpencode, Message, Storing},
    publisher::UNREAD_CHANGES,
};

//! Who brings sessions about.

use std::{sync::Arc, time::SystemTime};

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use session_key::SessionHash;
use thiserror::Error;

use crate::model::{Credentials, Session, SessionStatus, StopReason};

/// Brings sessions about. Every verb is idempotent and may be called at any time, from several tasks
/// at once; it asks for a change and returns once that is *written down*, not once it is *done*. What
/// came of it is seen by [`watch`](SessionBackend::watch), never by the answer: a repository that can't
/// be cloned is a phase (`Failed`), not an error here.
///
/// Dropping a verb's future half-way leaves the session as it was, or as asked for; never between.
#[async_trait]
pub trait SessionBackend: Send + Sync + 'static {
    /// Makes the session's storage if it has none, and starts it if it does not run. A session that is
    /// stopping is started once it has stopped: never two processes on one storage.
    ///
    /// Of a session that exists, the recorded [`Session`] stays as it is: `session` only names it.
    /// Starting what runs or starts already is success and changes nothing.
    ///
    /// `credentials` are those of the request at hand. They are for the start that it asks for, and are shown nowhere;
    /// a backend that has no use for them leaves them.
    async fn start(&self, session: &Session, credentials: &Credentials) -> Result<(), BackendError>;

    /// Ends the session's process, in good order if it can; its storage stays. Stopping what is stopped,
    /// stopping already, or not there is success. A failed session stays failed. For [`StopReason::Idle`] alone, a backend that
    /// several routers share refuses with [`BackendError::InUse`] where it knows of newer activity, or another start, than it told.
    async fn stop(&self, hash: SessionHash, why: StopReason) -> Result<(), BackendError>;

    /// Ends the process and removes everything of the session, storage included. Deleting what is not
    /// there is success.
    async fn delete(&self, hash: SessionHash) -> Result<(), BackendError>;

    /// Writes down that the session was used at that time; an earlier time than the one recorded changes
    /// nothing. Not there: success.
    async fn touch(&self, hash: SessionHash, at: SystemTime) -> Result<(), BackendError>;

    /// Writes down, durably before it returns, that the initial message was handed over.
    async fn mark_first_prompt_sent(&self, hash: SessionHash) -> Result<(), BackendError>;

    /// What is there: first a [`WatchEvent::Snapshot`] of all, then each change, in order for one session.
    /// A reader that is too slow gets a new snapshot instead of what it missed. The stream ends only
    /// with the backend.
    fn watch(&self) -> BoxStream<'static, WatchEvent>;

    /// The last `lines` lines that the session's process (or what failed before it) wrote. Empty where
    /// there is none.
    async fn logs(&self, hash: SessionHash, lines: usize) -> Result<String, BackendError>;

    /// What deleting the session would lose; `None` where it can't be told.
    async fn unsaved_work(&self, hash: SessionHash) -> Result<Option<UnsavedWork>, BackendError>;

    /// Returns how often the backend has found that a session's storage contradicts its hash or its owner. It reports no
    /// such session.
    fn conflicts(&self) -> u64 {
        0
    }

    /// Ends what must not outlive the router (local processes) and waits until it has ended; where sessions live on
    /// without it (Pods) it does nothing. No verb is called after it.
    async fn shutdown(&self);
}

/// What a backend tells of its sessions.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchEvent {
    /// All there are. Who is not in it is gone.
    Snapshot(Vec<Arc<SessionStatus>>),
    /// This one is new, or has changed.
    Applied(Arc<SessionStatus>),
    /// This one is gone, its storage too.
    Removed(SessionHash),
}

/// Work that is nowhere but in the session's storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnsavedWork {
    /// Files changed or new, and not committed.
    pub uncommitted_files: u32,
    /// Commits that no remote branch holds.
    pub unpushed_commits: u32,
}

/// Why a verb could not be carried out. It may be called again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BackendError {
    /// There is no space left where sessions are kept.
    #[error("no space left where sessions are kept: {0}")]
    DiskFull(String),
    /// The session's record can't be read or written.
    #[error("the session's record can't be read or written: {0}")]
    Storage(String),
    /// The backend can't be reached now, or is ending.
    #[error("the backend can't be reached: {0}")]
    Unavailable(String),
    /// The session was used, or asked for anew, after what the caller decided on: what is idle no more is not stopped.
    #[error("the session was used meanwhile")]
    InUse,
    /// The hash belongs to a session of another owner, repository or branch.
    #[error("the hash belongs to another session")]
    Conflict,
    /// The session was asked for that is not there (`logs`, `unsaved_work`, `greeted`).
    #[error("there is no such session")]
    NotFound,
}

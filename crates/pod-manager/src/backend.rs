//! The backend's trait: what the manager needs in order to create, run and remove sessions.
//!
//! A backend is a place where sessions live: a Kubernetes cluster, the local machine, or memory in tests. The
//! manager sends commands to it and learns the outcome from its event stream:
//!
//! ```
//! # use futures_util::StreamExt;
//! # use pod_manager::{BackendError, Credentials, SessionBackend, WatchEvent, model::{Phase, Session}};
//! # async fn example(backend: &dyn SessionBackend, session: &Session) -> Result<(), BackendError> {
//! let mut events = backend.watch();
//! backend.start(session, Credentials::NONE).await?;
//! // The start is recorded now. Whether the session runs is in the events:
//! while let Some(event) = events.next().await {
//!     if let WatchEvent::Applied(status) = event
//!         && let Phase::Running(endpoint) = &status.phase
//!     {
//!         println!("opencode serves at {}", endpoint.address);
//!         break;
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! What every backend promises beyond its signatures is written down as checks in `contract` (feature
//! `test-util`), which run against each of them.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use session_key::SessionHash;
use thiserror::Error;

use crate::{
    attach::{AttachChange, TooManyAttachTokens},
    model::{Credentials, Endpoint, Session, SessionStatus, StopReason},
    ports::SessionPorts,
    user_secrets::{SecretsError, UserSecrets},
};

/// Creates, runs and removes sessions.
///
/// A command (`start`, `stop`, `delete`, `touch`, `mark_first_prompt_sent`) records what is asked for and
/// returns; it does not wait until it is carried out. Its outcome is reported by
/// [`watch`](SessionBackend::watch): a repository that can't be cloned is a session whose phase is
/// [`Failed`](crate::Phase::Failed), not an error of `start`.
///
/// Every command is idempotent and may be called at any time, also concurrently. If its future is dropped,
/// the command has either taken effect or not; there is no state in between.
#[async_trait]
pub trait SessionBackend: Send + Sync + 'static {
    /// Starts a session, and creates its storage if it has none.
    ///
    /// A session that runs or starts stays as it is. A session that stops is started once it has stopped: two
    /// processes never share one storage. If the session exists already, its recorded [`Session`] does not
    /// change; `session` then only names it.
    ///
    /// `credentials` are used for this start and shown nowhere. A backend without a use for them ignores
    /// them.
    async fn start(&self, session: &Session, credentials: &Credentials) -> Result<(), BackendError>;

    /// Stops a session's process, gracefully if possible, and keeps its storage.
    ///
    /// A session that is stopped, stops or does not exist is not an error. A failed session stays failed.
    ///
    /// # Errors
    /// [`BackendError::InUse`], for [`StopReason::Idle`] only, if a backend that several routers share knows
    /// of newer activity or of another start than it has reported.
    async fn stop(&self, hash: SessionHash, reason: StopReason) -> Result<(), BackendError>;

    /// Stops a session's process and removes the session with its storage. A session that does not exist is
    /// not an error.
    async fn delete(&self, hash: SessionHash) -> Result<(), BackendError>;

    /// Records that the session was used at this time. A time before the recorded one changes nothing, and a
    /// session that does not exist is not an error.
    async fn touch(&self, hash: SessionHash, at: SystemTime) -> Result<(), BackendError>;

    /// Records that the initial message was sent to opencode; the record is durable when this returns.
    ///
    /// # Errors
    /// [`BackendError::NotFound`] if there is no such session.
    async fn mark_first_prompt_sent(&self, hash: SessionHash) -> Result<(), BackendError>;

    /// Changes the session's tokens for `opencode attach`; the change is durable when this returns. Of
    /// changes at the same time, also by several routers, none is lost.
    ///
    /// # Errors
    /// [`BackendError::NotFound`] if there is no such session; [`BackendError::TooManyAttachTokens`].
    async fn change_attach_tokens(&self, hash: SessionHash, change: AttachChange)
    -> Result<(), BackendError>;

    /// Returns the events of all sessions: a [`WatchEvent::Snapshot`] first, then every change.
    ///
    /// The changes of one session come in their order. A reader that is too slow gets a new snapshot instead
    /// of the changes that it missed. The stream ends only with the backend.
    fn watch(&self) -> BoxStream<'static, WatchEvent>;

    /// Returns the last `lines` lines of the session's log: the output of its process, or of the step of its
    /// start that failed. Empty if it has none.
    ///
    /// # Errors
    /// [`BackendError::NotFound`] if there is no such session.
    async fn logs(&self, hash: SessionHash, lines: usize) -> Result<String, BackendError>;

    /// Returns what deleting the session would lose; `None` if that is unknown.
    ///
    /// # Errors
    /// [`BackendError::NotFound`] if there is no such session.
    async fn unsaved_work(&self, hash: SessionHash) -> Result<Option<UnsavedWork>, BackendError>;

    /// Returns where the sessions' processes are and what they use. A session about which nothing is known is
    /// left out; so are all of them on a backend that knows nothing of either.
    async fn usage(&self) -> HashMap<SessionHash, Usage> {
        HashMap::new()
    }

    /// Returns the store of users' secrets, which each start of a session puts into its environment.
    fn user_secrets(&self) -> &dyn UserSecrets;

    /// Returns the session's dev servers, now and after each change, for as long as the run of this endpoint
    /// lasts. Every router reports the same. The default reports nothing.
    fn watch_ports(&self, hash: SessionHash, endpoint: &Endpoint) -> BoxStream<'static, SessionPorts> {
        let _ = (hash, endpoint);
        stream::empty().boxed()
    }

    /// Records which ports listen, as the session itself reports it: a session that can't be asked, because
    /// its image has no agent. All ports are replaced, by every router. The default ignores the report.
    async fn report_ports(&self, hash: SessionHash, ports: &[u16]) -> Result<(), BackendError> {
        let _ = (hash, ports);
        Ok(())
    }

    /// Returns whether everything that listens on this port of the machine belongs to the session. Only a
    /// backend whose sessions share an address knows that; the default returns false.
    async fn owns_port(&self, hash: SessionHash, port: u16) -> bool {
        let _ = (hash, port);
        false
    }

    /// Returns how often the backend has found that a session's storage contradicts its hash or its owner.
    /// Such a session is not reported.
    fn conflicts(&self) -> u64 {
        0
    }

    /// Ends what must not outlive the router, and waits for it: local processes are stopped, Pods continue.
    /// No command may follow.
    async fn shutdown(&self);
}

/// A report of a backend on its sessions.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchEvent {
    /// All sessions that exist. A session that is missing here has been removed.
    Snapshot(Vec<Arc<SessionStatus>>),
    /// A session that is new or has changed.
    Applied(Arc<SessionStatus>),
    /// A session that has been removed, together with its storage.
    Removed(SessionHash),
}

/// Work that exists only in the session's storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnsavedWork {
    /// The number of files that are changed or new, and not committed.
    pub uncommitted_files: u32,
    /// The number of commits that are on no branch of the remote.
    pub unpushed_commits: u32,
}

/// Where a session's process is, and what it uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// The name of the node.
    pub node: Option<Arc<str>>,
    /// The processor time that it uses at present, in thousandths of a core.
    pub cpu_millicores: Option<u64>,
    /// The memory that it uses, in bytes.
    pub memory_bytes: Option<u64>,
}

/// Why a command failed. It may be repeated.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BackendError {
    /// No space is left for the sessions' storage.
    #[error("no space left for sessions: {0}")]
    DiskFull(String),
    /// The session's record can't be read or written.
    #[error("the session's record can't be read or written: {0}")]
    Storage(String),
    /// The backend can't be reached now, or is shutting down.
    #[error("the backend can't be reached: {0}")]
    Unavailable(String),
    /// An idle stop came too late: the session was used or started in the meantime.
    #[error("the session was used in the meantime")]
    InUse,
    /// The hash belongs to a session of another owner, repository or branch.
    #[error("the hash belongs to another session")]
    Conflict,
    /// The session has as many attach tokens as it may have.
    #[error("the session has as many attach tokens as it may have")]
    TooManyAttachTokens,
    /// There is no such session. Only queries, `mark_first_prompt_sent` and `change_attach_tokens` fail with
    /// this.
    #[error("no such session")]
    NotFound,
}

impl From<TooManyAttachTokens> for BackendError {
    fn from(_: TooManyAttachTokens) -> Self {
        Self::TooManyAttachTokens
    }
}

impl From<BackendError> for SecretsError {
    fn from(error: BackendError) -> Self {
        Self::Store(error.to_string())
    }
}

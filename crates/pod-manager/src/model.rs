//! What a session is, and what is known of it.
//!
//! A [`Session`] is what its owner asked for, and never changes. A [`SessionStatus`] is what a backend
//! reports of it. Its life, as a [`Phase`]:
//!
//! ```text
//!             start             opencode is ready           stop
//!  Stopped ──────────▶ Starting ────────────────▶ Running ──────▶ Stopping ──▶ Stopped, or removed
//!      start              │ a stage fails            │ opencode crashes too often
//!  Failed ──▶ Starting    └──────▶ Failed ◀──────────┘
//! ```
//!
//! A failed session is started again only if somebody asks for it. A stop during a start cancels the start.
//!
//! ```
//! # use session_key::{GitRef, Identity, RepoPolicy, RepoUrl, SessionHash};
//! # use std::time::SystemTime;
//! use pod_manager::model::{Session, Source};
//!
//! # fn example(created_at: SystemTime) -> Result<Session, session_key::InvalidName> {
//! let owner = Identity::parse("alice@example.com")?;
//! let url = RepoUrl::parse("https://github.com/acme/widgets", RepoPolicy::default())?;
//! let branch = GitRef::parse("main")?;
//! let session = Session {
//!     // The same owner, repository and branch always give the same hash.
//!     hash: SessionHash::of(&owner, &url, &branch),
//!     owner,
//!     source: Source::Repository { url, branch, from: None },
//!     initial_message: Some("Fix the failing test.".into()),
//!     created_at,
//! };
//! # Ok(session) }
//! ```

use std::{fmt, net::SocketAddr, sync::Arc, time::SystemTime};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::header::HeaderValue;
use session_key::{GitRef, Identity, RepoUrl, SessionHash};
use sha2::{Digest, Sha256};

pub use crate::git_author::GitAuthor;

use crate::attach::AttachTokens;

/// A session as its owner asked for it. It never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The session's key, which also is its host name.
    pub hash: SessionHash,
    /// The user whose requests, and only whose, reach the session.
    pub owner: Identity,
    /// What the session works on.
    pub source: Source,
    /// The first prompt, which is sent exactly once.
    pub initial_message: Option<String>,
    /// When the session was asked for.
    pub created_at: SystemTime,
}

/// What a session's working folder holds at first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A clone of a repository, with `branch` checked out.
    Repository {
        /// The address of the repository.
        url: RepoUrl,
        /// The branch of the session.
        branch: GitRef,
        /// The branch from which `branch` is created if it exists neither in the clone nor on the remote;
        /// `None` is the remote's default branch.
        from: Option<GitRef>,
    },
    /// A new project: an empty repository with one empty commit.
    Empty,
}

/// What a backend reports of one session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionStatus {
    /// The session as it is recorded.
    pub session: Arc<Session>,
    /// What the session is doing.
    pub phase: Phase,
    /// When the phase began.
    pub since: SystemTime,
    /// The stages of the present or last start, in order. Stages that have not begun have no times.
    pub stages: Vec<StageRecord>,
    /// The newest activity that is recorded; users see newer activity, since it is recorded with a delay.
    pub last_activity: SystemTime,
    /// Whether the initial message was sent to opencode; it is never sent again.
    pub first_prompt_sent: bool,
    /// The tokens for `opencode attach`.
    pub attach_tokens: Arc<AttachTokens>,
}

/// What a session is doing.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// The session has no process. Its files are kept.
    Stopped(StopReason),
    /// The session is being started; [`SessionStatus::stages`] show the progress.
    Starting,
    /// opencode serves at this endpoint.
    Running(Endpoint),
    /// The process is being stopped; the session will be `Stopped`, started again, or removed.
    Stopping,
    /// The session could not be started or kept running, and is not started again by itself. Its files are
    /// kept.
    Failed(Failure),
}

/// The address and the password of a running session's opencode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// opencode's address. Dev servers of the session listen on other ports of the same IP address.
    pub address: SocketAddr,
    /// The password of Basic authentication, with user `opencode`; `None` for a Pod of the TypeScript router.
    pub password: Option<Password>,
    /// The id of this run; every start has a new one.
    pub run_id: Arc<str>,
}

/// The password of a session's opencode. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    text: Arc<str>,
    authorization: HeaderValue,
}

impl Password {
    /// Wraps a password.
    #[must_use]
    pub fn new(password: impl Into<Arc<str>>) -> Self {
        let text = password.into();
        let encoded = BASE64_STANDARD.encode(format!("opencode:{text}"));
        // Base64 always fits into a header.
        let mut authorization =
            HeaderValue::try_from(format!("Basic {encoded}")).unwrap_or(HeaderValue::from_static("Basic"));
        authorization.set_sensitive(true);
        Self { text, authorization }
    }

    /// Returns the password itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Returns the secret by which the session identifies itself to the router (`OPENCODE_POD_SECRET`). It is
    /// derived from the password, so every replica knows it; the password cannot be derived from it.
    #[must_use]
    pub fn pod_secret(&self) -> String {
        self.derive("opencode-router pod secret\0")
    }

    /// Returns the token by which the router identifies itself to the session's agent
    /// (`OPENCODE_SESSION_AGENT_TOKEN`). It is derived like the [pod secret](Self::pod_secret).
    #[must_use]
    pub fn agent_token(&self) -> String {
        self.derive("opencode-router session agent\0")
    }

    fn derive(&self, purpose: &str) -> String {
        let digest = Sha256::new().chain_update(purpose).chain_update(&*self.text).finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns the value of the `Authorization` header that opencode requires (Basic, RFC 7617). It is
    /// encoded once, since every request needs it.
    #[must_use]
    pub fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What a session may use in its owner's name. It is not part of [`Session`], which is shown and recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The owner's GitHub token, if the sign-in provides one.
    pub github_token: Option<Token>,
    /// Who the session's commits are by; `None`: as at the last start, else [`GitAuthor::of`] the owner.
    pub git_author: Option<GitAuthor>,
}

impl Credentials {
    /// No credentials.
    pub const NONE: &Self = &Self { github_token: None, git_author: None };
}

/// An access token. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Arc<str>);

impl Token {
    /// The longest token that is accepted, in bytes.
    pub const MAX_BYTES: usize = 8 * 1024;

    /// Accepts a token: visible ASCII characters without spaces. Returns `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= Self::MAX_BYTES;
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.into()))
    }

    /// Returns the token itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why a session is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The session was not used for the idle timeout.
    Idle,
    /// A user or an administrator stopped the session.
    Requested,
    /// The router shut down, and stopped its child processes.
    RouterStopped,
    /// The router was killed; its next start ended the processes that were left.
    RouterCrashed,
    /// The session was created but never started.
    NeverStarted,
}

/// Why a session failed, in words for its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A stable code, for programs and translations.
    pub code: FailureCode,
    /// What happened, in a sentence.
    pub message: String,
    /// What to do, in a sentence.
    pub advice: String,
    /// The last lines of the log of the step that failed, without secrets.
    pub log_tail: Option<String>,
}

/// The kinds of failure. The strings are part of the API; see [`as_str`](FailureCode::as_str).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureCode {
    /// The remote has no such repository, or hides it from users without access.
    RepositoryNotFound,
    /// The remote requires credentials, or refused those that it got.
    AuthenticationFailed,
    /// The branch from which the session's branch is to be created does not exist.
    BranchNotFound,
    /// The remote could not be reached.
    NetworkUnreachable,
    /// git failed to clone for another reason.
    CloneFailed,
    /// git could not check the branch out.
    CheckoutFailed,
    /// No space is left in the session's storage.
    DiskFull,
    /// The opencode binary does not exist, or can't be run.
    OpencodeNotFound,
    /// opencode ended by itself too often.
    OpencodeCrashed,
    /// opencode did not become ready in time.
    OpencodeNotReady,
    /// No node has room for the Pod, or none is allowed to run it.
    Unschedulable,
    /// The session image can't be pulled.
    ImagePullFailed,
    /// The session used more memory than its limit.
    OutOfMemory,
    /// The node ran out of resources and evicted the Pod.
    Evicted,
    /// The Pod's node no longer exists or does not respond.
    NodeLost,
    /// The session's volume no longer exists.
    VolumeLost,
    /// The volume can't be created, or can't be attached to the node.
    VolumeUnavailable,
    /// The backend itself failed.
    BackendError,
}

impl FailureCode {
    /// All codes.
    pub const ALL: [Self; 18] = [
        Self::RepositoryNotFound,
        Self::AuthenticationFailed,
        Self::BranchNotFound,
        Self::NetworkUnreachable,
        Self::CloneFailed,
        Self::CheckoutFailed,
        Self::DiskFull,
        Self::OpencodeNotFound,
        Self::OpencodeCrashed,
        Self::OpencodeNotReady,
        Self::Unschedulable,
        Self::ImagePullFailed,
        Self::OutOfMemory,
        Self::Evicted,
        Self::NodeLost,
        Self::VolumeLost,
        Self::VolumeUnavailable,
        Self::BackendError,
    ];

    /// Returns the code as it is in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RepositoryNotFound => "repository_not_found",
            Self::AuthenticationFailed => "authentication_failed",
            Self::BranchNotFound => "branch_not_found",
            Self::NetworkUnreachable => "network_unreachable",
            Self::CloneFailed => "clone_failed",
            Self::CheckoutFailed => "checkout_failed",
            Self::DiskFull => "disk_full",
            Self::OpencodeNotFound => "opencode_not_found",
            Self::OpencodeCrashed => "opencode_crashed",
            Self::OpencodeNotReady => "opencode_not_ready",
            Self::Unschedulable => "unschedulable",
            Self::ImagePullFailed => "image_pull_failed",
            Self::OutOfMemory => "out_of_memory",
            Self::Evicted => "evicted",
            Self::NodeLost => "node_lost",
            Self::VolumeLost => "volume_lost",
            Self::VolumeUnavailable => "volume_unavailable",
            Self::BackendError => "backend_error",
        }
    }
}

impl StopReason {
    /// All reasons.
    pub const ALL: [Self; 5] =
        [Self::Idle, Self::Requested, Self::RouterStopped, Self::RouterCrashed, Self::NeverStarted];

    /// Returns the reason as it is in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Requested => "requested",
            Self::RouterStopped => "router_stopped",
            Self::RouterCrashed => "router_crashed",
            Self::NeverStarted => "never_started",
        }
    }
}

/// The stages of a start. A backend has some of them, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The start waits for its turn.
    Queued,
    /// A node is being found for the Pod.
    Scheduled,
    /// The volume is being attached.
    Volume,
    /// The image is being pulled.
    Image,
    /// The repository is being cloned, or updated if it was cloned before.
    Cloning,
    /// opencode is starting.
    Starting,
    /// opencode is ready, and its first conversation is being opened.
    Ready,
}

/// One stage of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageRecord {
    /// The stage.
    pub stage: Stage,
    /// When the stage began; `None` if it has not begun.
    pub started: Option<SystemTime>,
    /// When the stage ended, successfully or not; `None` if it has not ended.
    pub ended: Option<SystemTime>,
    /// What is being done, for people.
    pub message: Option<String>,
    /// The progress of it, 0 to 100 percent.
    pub percent: Option<u8>,
    /// The number of bytes received so far.
    pub bytes: Option<u64>,
}

//! What a session is, and what can be seen of it.

use std::{fmt, net::SocketAddr, sync::Arc, time::SystemTime};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::header::HeaderValue;
use session_key::{GitRef, Identity, RepoUrl, SessionHash};

/// A session as it was asked for. It never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its key.
    pub hash: SessionHash,
    /// Whose it is; nobody else's requests reach it.
    pub owner: Identity,
    /// What is worked on.
    pub source: Source,
    /// The first prompt, to be sent exactly once.
    pub initial_message: Option<String>,
    /// When it was first asked for.
    pub created_at: SystemTime,
}

/// What a session's folder is filled with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A clone with `branch` checked out.
    Repository {
        /// Where it is cloned from.
        url: RepoUrl,
        /// The branch worked on.
        branch: GitRef,
        /// What `branch` is created from where neither clone nor remote has it; `None`: the remote's default.
        from: Option<GitRef>,
    },
    /// A new project: an empty repository with an empty first commit.
    Empty,
}

/// What a backend sees of one session, at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionStatus {
    /// What was asked for.
    pub session: Arc<Session>,
    /// What is there.
    pub phase: Phase,
    /// Since when it is so.
    pub since: SystemTime,
    /// The present or last start, stage by stage; those to come are there, without times.
    pub stages: Vec<StageRecord>,
    /// The newest activity that was written down.
    pub last_activity: SystemTime,
    /// The initial message (where there is one) was handed to opencode: never again.
    pub first_prompt_sent: bool,
}

/// What a session is doing.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// No process, and none asked for. Its files are kept.
    Stopped(StopReason),
    /// On its way to `Running`; [`SessionStatus::stages`] tell how far.
    Starting,
    /// opencode answers there.
    Running(Endpoint),
    /// On its way to `Stopped`, or to being gone.
    Stopping,
    /// It could not be started or kept running; nothing tries again by itself. Its files are kept.
    Failed(Failure),
}

/// Where a running session's opencode answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address; dev servers of the session are at other ports of the same host.
    pub address: SocketAddr,
    /// What it asks for (Basic, user `opencode`); `None` for a pod that the TypeScript router made.
    pub password: Option<Password>,
    /// Names this run of it: another start has another one.
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

    /// Returns the value of the `Authorization` header that opencode requires (Basic, RFC 7617). It is encoded once,
    /// since every request needs it.
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

/// What a session may use in its owner's name; kept apart from [`Session`], which is shown and written down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The owner's GitHub token, where the sign-in gives one.
    pub github_token: Option<Token>,
}

impl Credentials {
    /// None at all.
    pub const NONE: &Self = &Self { github_token: None };
}

/// An access token. `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Arc<str>);

impl Token {
    /// Longer ones are none.
    pub const MAX_BYTES: usize = 8 * 1024;

    /// Takes visible ASCII without spaces, which is what tokens are made of; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= Self::MAX_BYTES;
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.into()))
    }

    /// The token itself.
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
    /// Nobody used it for the idle timeout.
    Idle,
    /// Somebody asked for it.
    Requested,
    /// The router ended in good order, and its child processes with it.
    RouterStopped,
    /// The router was killed; what it had left running was ended at its next start.
    RouterCrashed,
    /// It was made, but never started.
    NeverStarted,
}

/// Why a session failed, for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Stable, for programs and translations.
    pub code: FailureCode,
    /// One sentence: what happened.
    pub message: String,
    /// One sentence: what to do.
    pub advice: String,
    /// The last lines of the log of what failed; free of secrets.
    pub log_tail: Option<String>,
}

/// The kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureCode {
    /// The remote says that there is no such repository (or hides it from who may not see it).
    RepositoryNotFound,
    /// The remote wants other credentials, or any.
    AuthenticationFailed,
    /// The branch to create from does not exist.
    BranchNotFound,
    /// The remote could not be reached.
    NetworkUnreachable,
    /// git failed to clone for another reason.
    CloneFailed,
    /// git could not check the branch out.
    CheckoutFailed,
    /// No space left where the session is kept.
    DiskFull,
    /// The opencode binary is not there, or can't be run.
    OpencodeNotFound,
    /// opencode ended again and again.
    OpencodeCrashed,
    /// opencode never answered.
    OpencodeNotReady,
    /// No node has room for the Pod, or none may take it.
    Unschedulable,
    /// The session image can't be pulled.
    ImagePullFailed,
    /// The session needed more memory than it may have.
    OutOfMemory,
    /// The node needed its resources for others.
    Evicted,
    /// The node is gone.
    NodeLost,
    /// The volume is gone.
    VolumeLost,
    /// The volume can't be made, or can't be attached to the node.
    VolumeUnavailable,
    /// Whatever brings sessions about failed itself.
    BackendError,
}

impl FailureCode {
    /// All of them.
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

    /// The code as programs see it.
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
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Idle, Self::Requested, Self::RouterStopped, Self::RouterCrashed, Self::NeverStarted];

    /// The reason as programs see it.
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

/// The stages that a start can have; each backend has some of them, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Waiting for its turn.
    Queued,
    /// A node was found for the Pod.
    Scheduled,
    /// The volume is being attached.
    Volume,
    /// The image is being pulled.
    Image,
    /// The repository is being cloned, or brought up to date.
    Cloning,
    /// opencode is starting.
    Starting,
    /// opencode answers; its first session is being opened.
    Ready,
}

/// One stage of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageRecord {
    /// Which one.
    pub stage: Stage,
    /// When it began; `None`: it is to come.
    pub started: Option<SystemTime>,
    /// When it ended, well or not; `None` with a beginning: it is under way.
    pub ended: Option<SystemTime>,
    /// What it is doing, in words.
    pub message: Option<String>,
    /// How much of what it is doing is done, 0 to 100.
    pub percent: Option<u8>,
    /// Bytes received so far.
    pub bytes: Option<u64>,
}

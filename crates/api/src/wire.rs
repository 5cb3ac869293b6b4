//! What travels as JSON: camelCase, times in RFC 3339 UTC.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use session_key::SessionHash;
use utoipa::ToSchema;

/// A session as its owner sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The session's key: 12 hexadecimal digits.
    #[schema(value_type = String, pattern = "^[0-9a-f]{12}$", examples("a48da0606867"))]
    pub hash: SessionHash,
    /// The owner's e-mail address.
    pub email: String,
    /// The repository's address; null for a new project.
    #[schema(required)]
    pub repo_url: Option<String>,
    /// The branch worked on; null for a new project.
    #[schema(required)]
    pub branch: Option<String>,
    /// The branch that `branch` is created from where it does not exist yet; null: the remote's default.
    #[schema(required)]
    pub source_branch: Option<String>,
    /// What the session is doing.
    pub state: State,
    /// Since when it is in that state.
    #[schema(value_type = String, format = DateTime)]
    pub state_since: Timestamp,
    /// Where a browser goes: into the repository's newest opencode session. Null until it runs.
    #[schema(required)]
    pub url: Option<String>,
    /// When a person last did something in it.
    #[schema(value_type = String, format = DateTime)]
    pub last_activity: Timestamp,
    /// When it was first asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Minutes without activity after which it is stopped; its files are kept. 0: it never is.
    pub idle_timeout_minutes: u32,
    /// The first words of the message it was created with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The title of its newest opencode session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where `opencode attach` connects to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach_url: Option<String>,
    /// Why it is `stopped` or `failed`, or goes on `running` though nobody uses it, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The agent is working on an answer: it is not idle, whatever `lastActivity` says.
    pub busy: bool,
    /// The stages of the present or last start, in order.
    pub stages: Vec<Stage>,
}

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// On its way to `running`; `stages` tell how far.
    Creating,
    /// It answers.
    Running,
    /// On its way to `stopped`.
    Stopping,
    /// No process; its files are kept.
    Stopped,
    /// It could not be started or kept running; `reason` tells why. Its files are kept.
    Failed,
}

/// Why a session is in its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// Stable, for programs and translations.
    #[schema(examples("idle", "repository_not_found"))]
    pub code: String,
    /// One sentence: what happened.
    pub message: String,
    /// One sentence: what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The last lines of the log of what failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_tail: Option<String>,
}

/// One stage of a start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// Which one.
    pub stage: StageName,
    /// How far it is.
    pub status: StageStatus,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// What it is doing now, in words (`Receiving objects`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How much of what it is doing is done, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// Bytes received so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// The stages that a start can have; each backend has some of them, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StageName {
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

/// How far a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StageStatus {
    /// Yet to come.
    Pending,
    /// Under way.
    Active,
    /// Done.
    Done,
    /// It failed; the session's `reason` tells why.
    Failed,
}

/// The caller's sessions, newest activity first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionList {
    /// The caller.
    pub email: String,
    /// Their sessions.
    pub sessions: Vec<Session>,
}

impl SessionList {
    /// These sessions in their order.
    #[must_use]
    pub fn newest_first(email: &str, mut sessions: Vec<Session>) -> Self {
        sessions.sort_by(|a, b| b.last_activity.cmp(&a.last_activity).then(a.hash.cmp(&b.hash)));
        Self { email: email.to_owned(), sessions }
    }
}

/// What to create. Without `repoUrl`: a new project, an empty repository of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateSession {
    /// The repository's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(examples("https://github.com/acme/widgets"))]
    pub repo_url: Option<String>,
    /// The branch to work on; without it, a suggested name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Where to create `branch` from if it does not exist; without it, the remote's default branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_branch: Option<String>,
    /// The first prompt, sent once opencode runs, exactly once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_message: Option<String>,
}

/// The answer to create, resume and stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionState {
    /// The session's key.
    #[schema(value_type = String)]
    pub hash: SessionHash,
    /// Its public URL once it runs.
    #[schema(required)]
    pub url: Option<String>,
    /// What it is doing.
    pub state: State,
}

/// A branch name that no session of the caller's has for that repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SuggestedBranch {
    /// The name.
    pub branch: String,
}

/// What deleting a session would lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnsavedWork {
    /// False where it can't be told (nothing was cloned yet, say); the counts are 0 then.
    pub known: bool,
    /// Files changed or new and not committed.
    pub uncommitted_files: u32,
    /// Commits that no remote branch holds.
    pub unpushed_commits: u32,
}

/// What the site needs to know of the router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SiteConfig {
    /// Filled in as the repository (`DEFAULT_GIT_REPO`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_repo: Option<String>,
    /// `ssh://`, `git://` and `user@host:path` addresses are taken.
    pub ssh_repos: bool,
    /// `file://` addresses and absolute paths are taken.
    pub local_repos: bool,
    /// Minutes without activity after which a session is stopped; 0: it never is.
    pub idle_timeout_minutes: u32,
    /// The router's version.
    pub version: String,
}

/// Every error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// A sentence: what is wrong and what to do.
    pub error: String,
    /// Stable, for programs and translations.
    #[schema(examples("not_found", "invalid_branch"))]
    pub code: String,
    /// To find the request in the router's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// An event of `GET /api/sessions/{hash}/events`; the SSE `event` name is the variant's, `data` its JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum SessionEvent {
    /// `progress`: the stage that is under way, in words, and all stages.
    Progress {
        /// The stage under way.
        stage: StageName,
        /// What it is doing.
        message: String,
        /// All stages.
        stages: Vec<Stage>,
    },
    /// `state_change`.
    StateChange {
        /// The new state.
        state: State,
    },
    /// `complete`: it runs; the stream ends.
    Complete {
        /// Where to go.
        url: String,
    },
    /// `error`: it failed or was stopped or deleted; the stream ends.
    Error {
        /// What happened.
        message: String,
        /// Why, where the session is still there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
}

impl SessionEvent {
    /// The SSE `event` name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Progress { .. } => "progress",
            Self::StateChange { .. } => "state_change",
            Self::Complete { .. } => "complete",
            Self::Error { .. } => "error",
        }
    }

    /// The stream ends after it.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Complete { .. } | Self::Error { .. })
    }
}

//! A session as its owner sees it, and what its owner asks for.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use session_key::SessionHash;
use utoipa::ToSchema;

use super::{port::Port, stage::Stage};

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
    /// The branch that is worked on; null for a new project.
    #[schema(required)]
    pub branch: Option<String>,
    /// The branch from which `branch` is created if it does not exist; null for the remote's default.
    #[schema(required)]
    pub source_branch: Option<String>,
    /// The session's state.
    pub state: State,
    /// When the session entered that state.
    #[schema(value_type = String, format = DateTime)]
    pub state_since: Timestamp,
    /// The address for a browser: the repository's newest opencode session. Null unless the session runs.
    #[schema(required)]
    pub url: Option<String>,
    /// When a person last used the session.
    #[schema(value_type = String, format = DateTime)]
    pub last_activity: Timestamp,
    /// When the session was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Minutes without activity after which the session is stopped; its files are kept. 0: never.
    pub idle_timeout_minutes: u32,
    /// The first words of the initial message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The title of the newest opencode session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The address for `opencode attach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach_url: Option<String>,
    /// Why the session is `stopped` or `failed`, or why it is `running` although nobody uses it, and what to
    /// do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Whether the agent is working on an answer; the session is then not idle, whatever `lastActivity` says.
    pub busy: bool,
    /// Whether the agent waits for an answer of its user (a question, or a permission). After a day without
    /// an answer the session counts as idle. Missing: it does not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waiting: bool,
    /// The stages of the current or last start, in order.
    pub stages: Vec<Stage>,
    /// The dev servers of the running session: the ports on which its processes listen, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
}

/// A session's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The session is starting; `stages` report its progress.
    Creating,
    /// The session can be used.
    Running,
    /// The session is being stopped.
    Stopping,
    /// The session does not run. Its files are kept.
    Stopped,
    /// The session could not start or crashed; `reason` says why. Its files are kept.
    Failed,
}

/// Why a session is in its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// Stable, for programs and translations.
    #[schema(examples("idle", "repository_not_found"))]
    pub code: String,
    /// A sentence that says what happened.
    pub message: String,
    /// A sentence that says what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The last lines of the log of the failed step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_tail: Option<String>,
}

/// The caller's sessions; the one with the latest activity comes first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionList {
    /// The caller's e-mail address.
    pub email: String,
    /// The caller's sessions.
    pub sessions: Vec<Session>,
}

impl SessionList {
    /// Creates the list, with the latest activity first.
    #[must_use]
    pub fn newest_first(email: &str, mut sessions: Vec<Session>) -> Self {
        sessions.sort_by(|a, b| b.last_activity.cmp(&a.last_activity).then(a.hash.cmp(&b.hash)));
        Self { email: email.to_owned(), sessions }
    }
}

/// The session to create. Without `repoUrl`, a new project with an empty repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateSession {
    /// The repository's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(examples("https://github.com/acme/widgets"))]
    pub repo_url: Option<String>,
    /// The branch to work on; a suggested name by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The branch from which `branch` is created if it does not exist; the remote's default branch by
    /// default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_branch: Option<String>,
    /// The first prompt. It is sent exactly once, as soon as opencode runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_message: Option<String>,
}

/// The answer of the routes that create, resume and stop a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionState {
    /// The session's key.
    #[schema(value_type = String)]
    pub hash: SessionHash,
    /// The session's public URL; null unless the session runs.
    #[schema(required)]
    pub url: Option<String>,
    /// The session's state.
    pub state: State,
}

/// A branch name that none of the caller's sessions of that repository uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SuggestedBranch {
    /// The branch name.
    pub branch: String,
}

/// The work that deleting a session would lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnsavedWork {
    /// False if the work is unknown, for example because nothing was cloned yet; the counts are then 0.
    pub known: bool,
    /// Changed and new files that are not committed.
    pub uncommitted_files: u32,
    /// Commits that are on no remote branch.
    pub unpushed_commits: u32,
}

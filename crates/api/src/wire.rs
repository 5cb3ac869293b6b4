//! The types that are sent and received as JSON: camelCase, times in RFC 3339 UTC.

use std::fmt;

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

/// A dev server of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// The port on which it listens.
    #[schema(examples(5173))]
    pub port: u16,
    /// Its public address, for the session's owner.
    pub url: String,
    /// The name of the process, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(examples("vite"))]
    pub process: Option<String>,
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

/// One stage of a start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// The stage's name.
    pub stage: StageName,
    /// The stage's status.
    pub status: StageStatus,
    /// When the stage started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When the stage ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// The current step, for example `Receiving objects`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The progress of the current step, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// Bytes received so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// The stages of a start, in order. Each backend has some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StageName {
    /// The session waits to start.
    Queued,
    /// The Pod waits for a node.
    Scheduled,
    /// The volume is being attached.
    Volume,
    /// The image is being pulled.
    Image,
    /// The repository is being cloned or fetched.
    Cloning,
    /// opencode is starting.
    Starting,
    /// opencode answers; the first opencode session is being opened.
    Ready,
}

/// The status of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StageStatus {
    /// The stage has not started.
    Pending,
    /// The stage is running.
    Active,
    /// The stage is complete.
    Done,
    /// The stage failed; the session's `reason` says why.
    Failed,
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

/// Any user's session as an administrator sees it: nothing that leads to its contents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdminSession {
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
    /// The session's state.
    pub state: State,
    /// When the session entered that state.
    #[schema(value_type = String, format = DateTime)]
    pub state_since: Timestamp,
    /// Why the session is in that state, without its log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Whether the agent is working on an answer.
    pub busy: bool,
    /// When a person last used the session.
    #[schema(value_type = String, format = DateTime)]
    pub last_activity: Timestamp,
    /// When the session was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The node that its Pod runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The processor time that it uses, in thousandths of a core. Missing where nobody measures it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millicores: Option<u64>,
    /// The memory that it uses, in bytes. Missing where nobody measures it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// The sessions of all users; the one with the latest activity comes first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AdminSessionList {
    /// The sessions.
    pub sessions: Vec<AdminSession>,
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

/// What `opencode attach` needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttachInfo {
    /// The session's key.
    #[schema(value_type = String)]
    pub hash: SessionHash,
    /// The address for `opencode attach`.
    pub attach_url: String,
    /// The newest opencode session, for `--session`; null unless the session runs.
    #[schema(required)]
    pub session_id: Option<String>,
    /// The tokens that are valid, the oldest first.
    pub tokens: Vec<AttachToken>,
    /// How many tokens a session may have at once.
    pub max_tokens: u32,
    /// How many days a token is valid by default.
    pub default_days: u32,
    /// How many days a token may be valid.
    pub max_days: u32,
    /// Whether the password that the TypeScript router gave the session is still accepted. The first token
    /// replaces it.
    pub original_password: bool,
}

/// A token for `opencode attach`, without the token itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttachToken {
    /// Names the token among those of its session.
    pub id: String,
    /// The name that its creator gave it; it may be empty.
    pub name: String,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// From when on it is refused.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// The token to create.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateAttachToken {
    /// A name by which its owner recognises it, such as the machine where it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many days it is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_days: Option<u32>,
}

/// A token for `opencode attach` that was just created.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewAttachToken {
    /// The token itself, which is not shown again: the password for `opencode attach`.
    pub token: String,
    /// Names the token among those of its session.
    pub id: String,
    /// The name that its creator gave it; it may be empty.
    pub name: String,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// From when on it is refused.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// The address for `opencode attach`.
    pub attach_url: String,
}

impl fmt::Debug for NewAttachToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewAttachToken").field("id", &self.id).finish_non_exhaustive()
    }
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

/// The settings of the router that the site shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SiteConfig {
    /// The repository that the form suggests (`DEFAULT_GIT_REPO`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_repo: Option<String>,
    /// Whether `ssh://`, `git://` and `user@host:path` addresses are accepted.
    pub ssh_repos: bool,
    /// Whether `file://` addresses and absolute paths are accepted.
    pub local_repos: bool,
    /// Minutes without activity after which a session is stopped. 0: never.
    pub idle_timeout_minutes: u32,
    /// The address of the GitHub whose repositories the router can list (`GITHUB_API_URL`).
    pub github_url: String,
    /// Whether the router has a token of the caller for it.
    pub github_token: bool,
    /// Whether the caller is an administrator, who may use the routes under `/api/admin`.
    pub admin: bool,
    /// The router's version.
    pub version: String,
}

/// A repository on GitHub that the caller's token may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Repository {
    /// The name without the owner.
    #[schema(examples("widgets"))]
    pub name: String,
    /// `owner/name`.
    #[schema(examples("acme/widgets"))]
    pub full_name: String,
    /// The address, which `repoUrl` of a new session may be.
    #[schema(examples("https://github.com/acme/widgets"))]
    pub url: String,
    /// Whether it is private.
    pub is_private: bool,
    /// The name of the default branch.
    pub default_branch: String,
}

/// A branch of a repository on GitHub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Branch {
    /// The branch's name.
    pub name: String,
}

/// The names of the caller's secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretNames {
    /// Whether there is at least one.
    pub has_secret: bool,
    /// The names of the variables, sorted.
    pub keys: Vec<String>,
}

impl SecretNames {
    /// Creates the answer with these names.
    #[must_use]
    pub fn new(keys: Vec<String>) -> Self {
        Self { has_secret: !keys.is_empty(), keys }
    }
}

/// Secrets to set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetSecrets {
    /// The variables' names and values.
    #[schema(required, value_type = std::collections::BTreeMap<String, String>)]
    pub secrets: Option<std::collections::BTreeMap<String, SecretText>>,
}

/// The new value of one secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetSecret {
    /// The variable's value.
    #[schema(required, value_type = String)]
    pub value: Option<SecretText>,
}

/// A text that is never shown: `Debug` and errors leave it out.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde's own error would repeat a number.
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(text)),
            _ => Err(serde::de::Error::custom("the value of a secret must be a text")),
        }
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// The answer to a change of all secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Acknowledged {
    /// Always true.
    pub success: bool,
    /// The names that there are now, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<String>>,
}

/// The latest messages of a session's newest conversation: the data of the event `snapshot` of
/// `GET /api/sessions/{hash}/progress/stream`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Thread {
    /// The conversation's title, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The oldest first. Empty unless the session runs.
    pub messages: Vec<ThreadMessage>,
}

/// A text that the user or the agent wrote: the data of the event `message`. One with a `partID` that is
/// known already replaces the earlier text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ThreadMessage {
    /// The text's id.
    #[serde(rename = "partID")]
    #[schema(examples("prt_215d9152800129cqn3KZQStBuQ"))]
    pub part_id: String,
    /// The message's id; ids ascend with time. A message may have several texts.
    #[serde(rename = "messageID")]
    #[schema(examples("msg_215d910fa001M4HNQD6n0JGYrd"))]
    pub message_id: String,
    /// The conversation's id.
    #[serde(rename = "sessionID")]
    #[schema(examples("ses_dea26f1d2ffeg66nJz5FQYYZI3"))]
    pub session_id: String,
    /// Who wrote it.
    pub role: Role,
    /// The text. Of a text longer than 4 KiB, the end after `…`.
    pub text: String,
    /// When it was written, in milliseconds since 1970.
    pub time: u64,
}

/// The data of an event of `GET /api/sessions/{hash}/progress/stream`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ThreadEvent {
    /// `snapshot`: the whole thread.
    Snapshot(Thread),
    /// `message`: a text that is new, or has changed.
    Message(ThreadMessage),
}

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The session's user.
    User,
    /// The agent.
    Assistant,
}

/// The ports on which a session listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortNumbers {
    /// The ports, in order.
    pub ports: Vec<u16>,
}

/// The body of every error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// A sentence that says what happened and what to do.
    pub error: String,
    /// Stable, for programs and translations.
    #[schema(examples("not_found", "invalid_branch"))]
    pub code: String,
    /// The id by which the router's log names the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// The data of an event of `GET /api/sessions/{hash}/events`. The event's type is the variant's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum SessionEvent {
    /// `progress`: the current stage and all stages.
    Progress {
        /// The current stage.
        stage: StageName,
        /// The current step.
        message: String,
        /// All stages.
        stages: Vec<Stage>,
    },
    /// `state_change`: the session's state changed.
    StateChange {
        /// The new state.
        state: State,
    },
    /// `complete`: the session runs. The stream ends.
    Complete {
        /// The session's URL.
        url: String,
    },
    /// `error`: the session failed, or was stopped or deleted. The stream ends.
    Error {
        /// A sentence that says what happened.
        message: String,
        /// The reason, unless the session was deleted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
}

/// An image to pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImagePull {
    /// The image's name, such as `registry.example.org/opencode-session:1.0`.
    #[serde(default)]
    pub image: String,
    /// Whether new sessions are to use the image. Refused if true: OPENCODE_IMAGE decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_config: Option<bool>,
}

/// The end of a pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PullOutcome {
    /// Whether a node has the image.
    pub status: PullStatus,
    /// A sentence that says which node, or why not.
    pub message: String,
}

/// Whether an image was pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PullStatus {
    /// A node has it.
    Success,
    /// No node has it.
    Failed,
}

/// How far a pull is: the data of the event `progress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImagePullProgress {
    /// A sentence that says what is being done.
    pub message: String,
}

impl ErrorBody {
    /// Returns the JSON text of an error's body. Every error of the router is written here.
    #[must_use]
    pub fn json(code: &str, error: &str, request_id: Option<&str>) -> String {
        let body = Self {
            error: error.to_owned(),
            code: code.to_owned(),
            request_id: request_id.map(ToOwned::to_owned),
        };
        // Texts always have a JSON form.
        serde_json::to_string(&body).unwrap_or_default()
    }
}

impl SessionEvent {
    /// Returns the type of the server-sent event.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Progress { .. } => "progress",
            Self::StateChange { .. } => "state_change",
            Self::Complete { .. } => "complete",
            Self::Error { .. } => "error",
        }
    }

    /// Whether the stream ends after this event.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Complete { .. } | Self::Error { .. })
    }
}

//! A session as an administrator sees it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use session_key::SessionHash;
use utoipa::ToSchema;

use super::session::{Reason, State};

/// Any user's session as an administrator sees it: nothing that leads to its contents.
// The fields repeat those of `Session`, so that a field added there does not appear here unseen.
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

//! The messages of a session's conversation.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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

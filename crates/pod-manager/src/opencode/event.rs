//! What the router understands of opencode's events.

use serde::Deserialize;
use serde_json::Value;

use super::checks::{MAX_DIRECTORY, title, valid_id};

/// The longest text of a part that is kept, in bytes; of a longer one, the end.
pub(crate) const MAX_TEXT: usize = 4 * 1024;

/// An event that changes what the router knows of a session's conversations. `session` is the id of a
/// conversation (opencode's API says *session*).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A conversation was created or changed.
    Conversation(ConversationChange),
    /// A conversation was deleted.
    Deleted { session: String },
    /// Whether an agent works in the conversation, and in which folder.
    Status { session: String, busy: bool, directory: Option<Box<str>> },
    /// The agent asked its user something, and waits.
    Asked { session: String, request: String },
    /// The question was answered, or is void.
    Answered { request: String },
    /// A message exists.
    Message { session: String, message: String, role: Role },
    /// A message was removed.
    MessageRemoved { session: String, message: String },
    /// A text of a message, as a whole.
    Part(Part),
    /// Further text of a part.
    Delta { session: String, part: String, text: String },
    /// A part was removed.
    PartRemoved { session: String, part: String },
    /// opencode dropped what it held in memory, and with it all agents at work.
    Disposed,
}

/// A conversation at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConversationChange {
    pub(crate) session: String,
    /// The conversation that started this one: a sub-agent works here.
    pub(crate) parent: Option<String>,
    pub(crate) title: Option<String>,
    /// When it was used last, in milliseconds since 1970.
    pub(crate) updated: u64,
    /// The first message that the user took back, and with it all later ones.
    pub(crate) reverted: Option<String>,
}

/// A text of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) session: String,
    pub(crate) message: String,
    pub(crate) id: String,
    pub(crate) text: String,
    /// When it was written, in milliseconds since 1970.
    pub(crate) time: Option<u64>,
}

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The session's user.
    User,
    /// The agent.
    Assistant,
}

impl Role {
    pub(super) fn parse(role: &str) -> Option<Self> {
        match role {
            "user" => Some(Self::User),
            "assistant" => Some(Self::Assistant),
            _ => None,
        }
    }
}

/// What every event has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: Option<Box<str>>,
    pub(super) kind: Box<str>,
}

#[derive(Deserialize)]
struct Payload {
    id: Option<Box<str>>,
    r#type: Box<str>,
}

impl From<Payload> for Head {
    fn from(payload: Payload) -> Self {
        Self { id: payload.id.filter(|id| valid_id("evt_", id)), kind: payload.r#type }
    }
}

/// Reads the id and the type. Both are missing if this is not an event of opencode.
pub(super) fn head(data: &[u8]) -> Head {
    #[derive(Deserialize)]
    struct Envelope {
        payload: Payload,
    }
    serde_json::from_slice(data).map(|Envelope { payload }| payload.into()).unwrap_or_default()
}

/// Reads the id and the type of an event that is not in an envelope: of any stream but `/global/event`.
pub(super) fn payload_head(data: &[u8]) -> Head {
    serde_json::from_slice(data).map(|payload: Payload| payload.into()).unwrap_or_default()
}

/// The type of an event that repeats the one before, with the same id.
pub(super) const SYNC: &str = "sync";

/// Whether an event of this type is about one connection alone.
pub(super) fn is_of_connection(kind: &str) -> bool {
    matches!(kind, "server.connected" | "server.heartbeat")
}

/// Returns when an event was made, by its id: 48 bits of milliseconds and counter. The times of two events
/// can be compared if they are less than a year apart.
pub(crate) fn event_time(id: &str) -> Option<u64> {
    u64::from_str_radix(id.strip_prefix("evt_")?.get(..12)?, 16).ok()
}

/// Reads an event of this type. `None`: it is not understood, or changes nothing that the router knows.
pub(crate) fn parse(kind: &str, data: &[u8]) -> Option<Event> {
    let understood =
        matches!(
            kind,
            "session.created" | "session.updated" | "session.deleted" | "session.status" | "session.idle"
        ) || ["message.", "permission.", "question."].iter().any(|group| kind.starts_with(group))
            || kind.ends_with(".disposed");
    if !understood {
        return None;
    }
    let event: Value = serde_json::from_slice(data).ok()?;
    let properties = &event["payload"]["properties"];
    let id = |value: &Value, prefix| value.as_str().filter(|id| valid_id(prefix, id)).map(str::to_owned);
    let session = || id(&properties["sessionID"], "ses_");
    let directory = || {
        let directory = event["directory"].as_str().filter(|directory| directory.len() <= MAX_DIRECTORY);
        directory.map(Box::from)
    };
    match kind {
        "session.created" | "session.updated" => conversation(&properties["info"]).map(Event::Conversation),
        "session.deleted" => Some(Event::Deleted { session: session()? }),
        "session.status" => {
            let busy = properties["status"]["type"].as_str()? != "idle";
            Some(Event::Status { session: session()?, busy, directory: directory() })
        }
        "session.idle" => Some(Event::Status { session: session()?, busy: false, directory: directory() }),
        "message.updated" => {
            let info = &properties["info"];
            let role = Role::parse(info["role"].as_str()?)?;
            Some(Event::Message { session: session()?, message: id(&info["id"], "msg_")?, role })
        }
        "message.removed" => Some(Event::MessageRemoved {
            session: session()?,
            message: id(&properties["messageID"], "msg_")?,
        }),
        "message.part.updated" => part(&properties["part"], &properties["time"]).map(Event::Part),
        "message.part.delta" if properties["field"] == "text" => {
            let text = keep_end(properties["delta"].as_str()?);
            Some(Event::Delta { session: session()?, part: id(&properties["partID"], "prt_")?, text })
        }
        "message.part.removed" => {
            Some(Event::PartRemoved { session: session()?, part: id(&properties["partID"], "prt_")? })
        }
        "permission.asked" | "permission.v2.asked" => {
            Some(Event::Asked { session: session()?, request: id(&properties["id"], "per_")? })
        }
        "question.asked" | "question.v2.asked" => {
            Some(Event::Asked { session: session()?, request: id(&properties["id"], "que_")? })
        }
        "permission.replied" | "permission.v2.replied" => {
            Some(Event::Answered { request: id(&properties["requestID"], "per_")? })
        }
        "question.replied" | "question.rejected" | "question.v2.replied" | "question.v2.rejected" => {
            Some(Event::Answered { request: id(&properties["requestID"], "que_")? })
        }
        "server.instance.disposed" | "global.disposed" => Some(Event::Disposed),
        _ => None,
    }
}

/// Reads a conversation as opencode describes it.
pub(super) fn conversation(info: &Value) -> Option<ConversationChange> {
    let id = |value: &Value, prefix| value.as_str().filter(|id| valid_id(prefix, id)).map(str::to_owned);
    Some(ConversationChange {
        session: id(&info["id"], "ses_")?,
        parent: id(&info["parentID"], "ses_"),
        title: info["title"].as_str().and_then(title),
        updated: info["time"]["updated"].as_u64().unwrap_or_default(),
        reverted: id(&info["revert"]["messageID"], "msg_"),
    })
}

/// Reads a part that is a text which its author wrote. Tools, thoughts, and what opencode adds to prompts
/// (`synthetic`) are none.
pub(super) fn part(part: &Value, time: &Value) -> Option<Part> {
    if part["type"] != "text" || part["synthetic"] == true || part["ignored"] == true {
        return None;
    }
    let id = |value: &Value, prefix| value.as_str().filter(|id| valid_id(prefix, id)).map(str::to_owned);
    Some(Part {
        session: id(&part["sessionID"], "ses_")?,
        message: id(&part["messageID"], "msg_")?,
        id: id(&part["id"], "prt_")?,
        text: keep_end(part["text"].as_str()?),
        time: part["time"]["start"].as_u64().or_else(|| time.as_u64()),
    })
}

/// Returns the text without control characters; of a long text, the end.
pub(crate) fn keep_end(text: &str) -> String {
    let cut = text.len() > MAX_TEXT;
    let start = if cut { text.ceil_char_boundary(text.len() - MAX_TEXT) } else { 0 };
    let kept = text[start..].chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t'));
    if cut { std::iter::once('…').chain(kept).collect() } else { kept.collect() }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;

//! The state of conversations as events, for clients that missed any number of them.
//!
//! opencode's page loads a conversation once and keeps it up to date by events alone; no event makes it load
//! the conversation again. But an event of opencode that says that something changed contains all of it, and
//! replaces what the page has.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    checks::valid_id,
    client::OpencodeClient,
    event_scope::{EventScope, Place},
    http::{self, Limits, MAX_BYTES, OpencodeError},
};
use crate::model::Endpoint;

const LIMITS: Limits = Limits { bytes: MAX_BYTES, time: Duration::from_secs(5) };
/// How many conversations are looked at, the ones used last first.
const MAX_CONVERSATIONS: usize = 16;
/// How many messages are asked for at once; fewer, if they are too large.
const PAGE_SIZES: [usize; 4] = [50, 12, 3, 1];
/// How many times older messages of a conversation are asked for.
const MAX_PAGES: usize = 8;
const MAX_CURSOR: usize = 512;
/// How much longer ago a client may have been up to date than its last event says: an event may overtake
/// another. Clocks do not matter, since the times of events and of messages are both opencode's.
const MARGIN: Duration = Duration::from_secs(10);

/// A conversation that may have changed.
#[derive(Debug, Clone)]
pub(crate) struct ChangedConversation {
    id: String,
    info: Value,
}

impl ChangedConversation {
    fn place(&self) -> Place<'_> {
        let text = |name| self.info[name].as_str().unwrap_or_default();
        Place { directory: text("directory"), project: text("projectID") }
    }
}

/// A part of a conversation's messages, from the newest to older ones.
pub(crate) struct Page {
    messages: Vec<Value>,
    /// Asks for the messages before these.
    next: Option<String>,
}

impl Page {
    /// Whether older messages may have changed since then as well.
    pub(crate) fn next_since(&self, since: Option<SystemTime>) -> Option<&str> {
        let since = millis(since?);
        let oldest = self.messages.first()?["info"]["time"]["created"].as_u64()?;
        self.next.as_deref().filter(|_| oldest >= since)
    }

    /// Returns the messages that may have changed since then, after the prompt that the first of them
    /// answers. All messages without a time. A page shows only a part of a long conversation, and other
    /// messages would be out of place there.
    pub(crate) fn changed_since(&self, since: Option<SystemTime>) -> Vec<&Value> {
        let Some(since) = since.map(millis) else { return self.messages.iter().collect() };
        let is_prompt = |message: &Value| message["info"]["role"] == "user";
        let time = |message: &Value, name| message["info"]["time"][name].as_u64();
        let newest_answer = self.messages.iter().rposition(|message| !is_prompt(message));
        let first = self.messages.iter().enumerate().position(|(at, message)| {
            let completed = time(message, "completed");
            time(message, "created").is_none_or(|created| created >= since)
                || completed.is_some_and(|completed| completed >= since)
                || (completed.is_none() && Some(at) == newest_answer)
        });
        let (before, changed) = self.messages.split_at(first.unwrap_or(self.messages.len()));
        let is_answer = changed.first().is_some_and(|message| !is_prompt(message));
        let prompt = before.iter().rfind(|message| is_answer && is_prompt(message));
        prompt.into_iter().chain(changed).collect()
    }
}

/// Returns when a client was up to date whose last event has this id: ten seconds before the event was made.
/// opencode's ids have the 36 lowest bits of the time.
pub(crate) fn up_to_date_at(event_time: u64, now: SystemTime) -> SystemTime {
    let age = (millis(now).wrapping_sub(event_time >> 12)) & ((1 << 36) - 1);
    now.checked_sub(Duration::from_millis(age) + MARGIN).unwrap_or(UNIX_EPOCH)
}

fn millis(time: SystemTime) -> u64 {
    let millis = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    u64::try_from(millis).unwrap_or(u64::MAX)
}

impl OpencodeClient {
    /// Returns the conversations, child conversations included, that changed since then, the newest first;
    /// without a time, the one that changed last. `statuses` are those of [`statuses`](Self::statuses): while
    /// an agent works, its conversation has the time at which its latest step began.
    pub(crate) async fn changed_conversations(
        &self,
        endpoint: &Endpoint,
        scope: &EventScope,
        since: Option<SystemTime>,
        statuses: &Value,
    ) -> Result<Vec<ChangedConversation>, OpencodeError> {
        let mut request = self
            .request(endpoint, Method::GET, "/session", None)
            .query(&[("limit", &*MAX_CONVERSATIONS.to_string())]);
        if let Some(directory) = scope.directory() {
            request = request.query(&[("directory", directory)]);
        }
        let Value::Array(list) = http::json(request, LIMITS).await? else {
            return Err(OpencodeError::Unexpected("not a list of sessions"));
        };
        let (limit, since) = since.map_or((1, 0), |since| (MAX_CONVERSATIONS, millis(since)));
        let changed = list.into_iter().filter_map(|info| {
            let id = info["id"].as_str().filter(|id| valid_id("ses_", id))?.to_owned();
            let is_changed = info["time"]["updated"].as_u64()? >= since || statuses.get(&id).is_some();
            is_changed.then_some(ChangedConversation { id, info })
        });
        Ok(changed.take(limit).collect())
    }

    /// Returns the conversation's newest messages, or those before `cursor`; the oldest first.
    pub(crate) async fn page(
        &self,
        endpoint: &Endpoint,
        conversation: &ChangedConversation,
        cursor: Option<&str>,
    ) -> Result<Page, OpencodeError> {
        let path = format!("/session/{}/message", conversation.id);
        for size in PAGE_SIZES {
            let mut request =
                self.request(endpoint, Method::GET, &path, None).query(&[("limit", &*size.to_string())]);
            if let Some(cursor) = cursor {
                request = request.query(&[("before", cursor)]);
            }
            match http::json_with_cursor(request, LIMITS).await {
                Ok((Value::Array(messages), next)) => {
                    let next = next.filter(|next| next.len() <= MAX_CURSOR);
                    return Ok(Page { messages, next });
                }
                Ok(_) => return Err(OpencodeError::Unexpected("not a list of messages")),
                Err(OpencodeError::TooLarge(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(OpencodeError::TooLarge(LIMITS.bytes))
    }

    /// Returns what an agent does in each conversation in which one works.
    pub(crate) async fn statuses(
        &self,
        endpoint: &Endpoint,
        scope: &EventScope,
    ) -> Result<Value, OpencodeError> {
        let mut request = self.request(endpoint, Method::GET, "/session/status", None);
        if let Some(directory) = scope.directory() {
            request = request.query(&[("directory", directory)]);
        }
        http::json(request, LIMITS).await
    }
}

/// Makes the events of one stream that contain the state of conversations.
pub(crate) struct StateEvents<'a> {
    pub(crate) scope: &'a EventScope,
    pub(crate) now: SystemTime,
}

impl StateEvents<'_> {
    pub(crate) const MAX_PAGES: usize = MAX_PAGES;

    /// Returns the conversation's title and so on.
    pub(crate) fn conversation(&self, conversation: &ChangedConversation) -> Bytes {
        let properties = json!({ "sessionID": conversation.id, "info": conversation.info });
        self.event(conversation, "session.updated", &properties)
    }

    /// Returns whether an agent works in the conversation.
    pub(crate) fn status(&self, conversation: &ChangedConversation, statuses: &Value) -> Bytes {
        let idle = json!({ "type": "idle" });
        let status = statuses.get(&conversation.id).unwrap_or(&idle);
        let properties = json!({ "sessionID": conversation.id, "status": status });
        self.event(conversation, "session.status", &properties)
    }

    /// Returns the messages with their parts.
    pub(crate) fn messages(&self, conversation: &ChangedConversation, messages: &[&Value]) -> Vec<Bytes> {
        let mut events = Vec::new();
        for message in messages {
            let properties = json!({ "sessionID": conversation.id, "info": message["info"] });
            events.push(self.event(conversation, "message.updated", &properties));
            for part in message["parts"].as_array().into_iter().flatten().filter(|part| is_stored(part)) {
                let time = message["info"]["time"]["created"].as_u64();
                let properties = json!({ "sessionID": conversation.id, "part": part, "time": time });
                events.push(self.event(conversation, "message.part.updated", &properties));
            }
        }
        events
    }

    fn event(&self, conversation: &ChangedConversation, kind: &str, properties: &Value) -> Bytes {
        let id = format!("evt_{:012x}R0state", (millis(self.now) << 12) & 0xffff_ffff_ffff);
        self.scope.event(&conversation.place(), &id, kind, properties)
    }
}

/// Whether opencode has stored the part as it is. While a text is being written, its words are in events
/// alone, and what is stored is empty: a client that has the first words would lose them.
fn is_stored(part: &Value) -> bool {
    let is_text = matches!(part["type"].as_str(), Some("text" | "reasoning"));
    let is_unfinished = part["time"]["start"].is_number() && !part["time"]["end"].is_number();
    !(is_text && is_unfinished && part["text"].as_str().is_none_or(str::is_empty))
}

#[cfg(test)]
#[path = "state_events_tests.rs"]
mod tests;

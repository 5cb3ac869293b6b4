//! The routes of the fake, as a function from request to answer.

use serde_json::{Value, json};

/// The conversation that works while the fake is busy.
pub(super) const CHILD: &str = "ses_child";

/// What the routes answer, and what was sent to them.
#[derive(Default)]
pub(super) struct Behaviour {
    /// The oldest first.
    pub(super) conversations: Vec<FakeConversation>,
    pub(super) busy: bool,
    /// Whether there is an event stream; without it, the path is answered with opencode's page.
    pub(super) events: bool,
    pub(super) sent_events: usize,
    /// The open questions to the user: conversation and request.
    pub(super) requests: Vec<(String, String)>,
    pub(super) unresponsive: bool,
    pub(super) status: Option<u16>,
    pub(super) drop_prompt_responses: bool,
    pub(super) storing: Storing,
    /// The prompts that are not stored yet.
    accepted: Vec<Prompt>,
    /// How often a single message was asked for.
    pub(super) message_requests: usize,
    /// Header lines of every response.
    pub(super) extra_headers: String,
    pub(super) prompts: usize,
}

/// A prompt that was accepted.
struct Prompt {
    /// The place of its conversation among all.
    at: usize,
    id: String,
    part: (String, String),
}

/// How much of a prompt is stored when the request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Storing {
    /// Nothing.
    Nothing,
    /// The message without its parts.
    Message,
    /// The whole prompt.
    #[default]
    All,
}

/// A conversation, which opencode calls a session.
pub(super) struct FakeConversation {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) messages: Vec<Message>,
}

/// A message of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The message's id. A message that is sent again has the same id.
    pub id: String,
    /// The ids and the texts of its parts.
    pub parts: Vec<(String, String)>,
    /// Whether the agent wrote it.
    pub is_answer: bool,
}

impl Behaviour {
    /// Adds a conversation, and returns its id.
    pub(super) fn create_conversation(&mut self, title: &str) -> String {
        let id = format!("ses_fake{}", self.conversations.len() + 1);
        self.conversations.push(FakeConversation {
            id: id.clone(),
            title: title.to_owned(),
            messages: Vec::new(),
        });
        id
    }

    fn prompt(&mut self, conversation: &str, body: &Value) -> (u16, Value) {
        self.prompts += 1;
        let Some(at) = self.conversations.iter().position(|one| one.id == conversation) else {
            return (404, json!({ "name": "NotFoundError" }));
        };
        let (Some(id), Some(part)) = (body["messageID"].as_str(), body["parts"][0]["id"].as_str()) else {
            return (400, json!({ "name": "BadRequest" }));
        };
        let text = body["parts"][0]["text"].as_str().unwrap_or_default();
        self.accepted.push(Prompt { at, id: id.to_owned(), part: (part.to_owned(), text.to_owned()) });
        self.store();
        (204, Value::Null)
    }

    /// Stores as much of the accepted prompts as is set.
    pub(super) fn store(&mut self) {
        if self.storing == Storing::Nothing {
            return;
        }
        for Prompt { at, id, part } in &self.accepted {
            let messages = &mut self.conversations[*at].messages;
            let at = messages.iter().position(|message| message.id == *id).unwrap_or_else(|| {
                messages.push(Message { id: id.clone(), parts: Vec::new(), is_answer: false });
                messages.len() - 1
            });
            if self.storing == Storing::All {
                let parts = &mut messages[at].parts;
                parts.retain(|(other, _)| *other != part.0);
                parts.push(part.clone());
            }
        }
        if self.storing == Storing::All {
            self.accepted.clear();
        }
    }

    /// Answers a request: its status, and its body as JSON; a text is opencode's page.
    pub(super) fn answer(&mut self, method: &str, path: &str, query: &str, body: &Value) -> (u16, Value) {
        let parts: Vec<_> = path.trim_matches('/').split('/').collect();
        match (method, parts.as_slice()) {
            ("GET", ["global", "health"]) => (200, json!({ "healthy": true, "version": "1.18.0" })),
            ("GET", ["session"]) => {
                let limit = query.split('&').find_map(|pair| pair.strip_prefix("limit="));
                let limit = limit.and_then(|limit| limit.parse().ok()).unwrap_or(100);
                let newest = self.conversations.iter().enumerate().rev().take(limit);
                (200, newest.map(|(at, one)| session(at, one)).collect())
            }
            ("POST", ["session"]) => {
                self.create_conversation("New session - 2026-11-23T16:19:39.611Z");
                let at = self.conversations.len() - 1;
                (200, session(at, &self.conversations[at]))
            }
            ("GET", ["session", "status"]) if self.busy => (200, json!({ CHILD: { "type": "busy" } })),
            ("GET", ["session", "status"]) => (200, json!({})),
            ("GET", ["permission"]) => (200, json!([])),
            ("GET", ["question"]) => {
                let request = |(session, id): &(String, String)| json!({ "sessionID": session, "id": id });
                (200, self.requests.iter().map(request).collect())
            }
            ("GET", ["session", id]) => (200, json!({ "id": id, "time": { "updated": 0 } })),
            ("GET", ["session", conversation, "message", rest @ ..]) => {
                let Some(conversation) = self.conversations.iter().find(|one| one.id == *conversation) else {
                    return (404, json!({ "name": "NotFoundError" }));
                };
                let id = conversation.id.clone();
                let info = |message: &Message| {
                    let part = |(part, text): &(String, String)| json!({ "id": part, "messageID": message.id, "sessionID": id, "type": "text", "text": text });
                    let role = if message.is_answer { "assistant" } else { "user" };
                    let parts: Vec<_> = message.parts.iter().map(part).collect();
                    json!({ "info": { "id": message.id, "role": role, "time": { "created": 1 } }, "parts": parts })
                };
                self.message_requests += rest.len();
                match rest.first() {
                    None => (200, conversation.messages.iter().map(info).collect()),
                    Some(id) => match conversation.messages.iter().find(|message| message.id == *id) {
                        Some(message) => (200, info(message)),
                        None => (404, json!({ "name": "NotFoundError" })),
                    },
                }
            }
            ("POST", ["session", conversation, "prompt_async"]) => self.prompt(conversation, body),
            // opencode answers unknown paths with its page.
            _ => (200, Value::String("<!doctype html>".into())),
        }
    }
}

/// Returns a conversation as opencode describes it; `at` is its place among all.
pub(super) fn session(at: usize, conversation: &FakeConversation) -> Value {
    let time = json!({ "created": at, "updated": at });
    json!({ "id": conversation.id, "title": conversation.title, "directory": "/fake/repo", "time": time })
}

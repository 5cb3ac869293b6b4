//! The few questions asked of a session's opencode. What runs there is hostile: answers are bounded in time
//! and size, and what they hold is checked before it is used.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::http::{self, HttpClient, Limits, MAX_BYTES, OpencodeError};
use crate::model::{Endpoint, Session};

/// The first request after a start takes 0.4 s (opencode loads the project), and far longer on a busy
/// machine.
const LIMITS: Limits = Limits { bytes: MAX_BYTES, time: Duration::from_secs(5) };
const MAX_TITLE: usize = 200;
const MAX_DIRECTORY: usize = 4096;

/// Asks opencode instances; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Opencode(HttpClient);

/// A conversation of opencode's, one that no other conversation started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conversation {
    pub(crate) id: String,
    /// `None` where it has only the name that opencode gives to every new one.
    pub(crate) title: Option<String>,
    /// The folder it is about.
    directory: String,
}

impl Conversation {
    /// The path of the page that shows it, in the repository it belongs to.
    pub(crate) fn landing_path(&self) -> String {
        format!("/{}/session/{}", BASE64_URL_SAFE_NO_PAD.encode(&self.directory), self.id)
    }
}

/// The ids under which an initial message is sent. The same session has the same ids always, and opencode
/// takes a message that comes again under the same ids for the same one (seen with 1.18): so a message whose
/// fate is unknown may be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MessageIds {
    pub(crate) message: String,
    part: String,
}

impl MessageIds {
    /// opencode orders messages by id: 48 bits of milliseconds and counter, then 14 characters. With the time
    /// at which the session was asked for, the message comes before its answer.
    pub(crate) fn of(session: &Session) -> Self {
        let millis = session.created_at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let stamp = |counter: u128| (millis * 0x1000 + counter) & 0xffff_ffff_ffff;
        let name = format!("R0{}", session.hash);
        Self { message: format!("msg_{:012x}{name}", stamp(1)), part: format!("prt_{:012x}{name}", stamp(2)) }
    }
}

impl Opencode {
    /// Creates a client.
    pub(crate) fn new() -> Self {
        Self(HttpClient::new())
    }

    /// The conversations last used, newest first; `limit` at most.
    pub(crate) async fn conversations(
        &self,
        at: &Endpoint,
        limit: usize,
    ) -> Result<Vec<Conversation>, OpencodeError> {
        let list = self.get(at, &format!("/session?roots=true&limit={limit}")).await?;
        let list = list.as_array().ok_or(OpencodeError::Unexpected("no list of sessions"))?;
        list.iter().take(limit).map(conversation).collect()
    }

    /// Begins a conversation.
    pub(crate) async fn converse(&self, at: &Endpoint) -> Result<Conversation, OpencodeError> {
        conversation(&self.ask(at, Method::POST, "/session", Some(json!({}))).await?)
    }

    /// Whether the conversation holds the message.
    pub(crate) async fn holds(
        &self,
        at: &Endpoint,
        conversation: &str,
        ids: &MessageIds,
    ) -> Result<bool, OpencodeError> {
        let path = format!("/session/{conversation}/message/{}", ids.message);
        match self.get(at, &path).await {
            Ok(_) => Ok(true),
            Err(OpencodeError::Status(StatusCode::NOT_FOUND)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether nothing was said in it yet.
    pub(crate) async fn is_empty(&self, at: &Endpoint, conversation: &str) -> Result<bool, OpencodeError> {
        let messages = self.get(at, &format!("/session/{conversation}/message?limit=1")).await?;
        messages.as_array().map(Vec::is_empty).ok_or(OpencodeError::Unexpected("no list of messages"))
    }

    /// Hands a message over; opencode has it on disk when this returns, and answers it by itself.
    pub(crate) async fn prompt(
        &self,
        at: &Endpoint,
        conversation: &str,
        ids: &MessageIds,
        text: &str,
    ) -> Result<(), OpencodeError> {
        let part = json!({ "id": ids.part, "type": "text", "text": text });
        let body = json!({ "messageID": ids.message, "parts": [part] });
        let path = format!("/session/{conversation}/prompt_async");
        http::bytes(self.request(at, Method::POST, &path, Some(body)), LIMITS).await.map(drop)
    }

    /// Whether an agent is at work in any conversation, child conversations too. One that waits to ask its
    /// model again, or for its person's answer, is at work.
    pub(crate) async fn is_busy(&self, at: &Endpoint) -> Result<bool, OpencodeError> {
        let status = self.get(at, "/session/status").await?;
        let status = status.as_object().ok_or(OpencodeError::Unexpected("no status"))?;
        Ok(status.values().any(|one| one["type"].as_str() != Some("idle")))
    }

    async fn get(&self, at: &Endpoint, path: &str) -> Result<Value, OpencodeError> {
        self.ask(at, Method::GET, path, None).await
    }

    async fn ask(
        &self,
        at: &Endpoint,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, OpencodeError> {
        http::json(self.request(at, method, path, body), LIMITS).await
    }

    fn request(&self, at: &Endpoint, method: Method, path: &str, body: Option<Value>) -> RequestBuilder {
        let request = self.0.request(method, at.address, path, at.password.as_ref());
        match body {
            Some(body) => request.json(&body),
            None => request,
        }
    }
}

fn conversation(value: &Value) -> Result<Conversation, OpencodeError> {
    let id = value["id"].as_str().unwrap_or_default();
    let proper = |rest: &str| {
        (1..=64).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if !id.strip_prefix("ses_").is_some_and(proper) {
        return Err(OpencodeError::Unexpected("an id that is none of its own"));
    }
    let directory = value["directory"].as_str().unwrap_or_default();
    if directory.is_empty() || directory.len() > MAX_DIRECTORY {
        return Err(OpencodeError::Unexpected("no directory"));
    }
    let title = value["title"].as_str().and_then(title);
    Ok(Conversation { id: id.to_owned(), title, directory: directory.to_owned() })
}

fn title(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_TITLE).collect();
    let text = text.trim();
    let unnamed = text.is_empty() || text.starts_with("New session - ");
    (!unnamed).then(|| text.to_owned())
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

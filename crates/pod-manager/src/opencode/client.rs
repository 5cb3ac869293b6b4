//! The few questions asked of a session's opencode. What runs there is hostile: answers are bounded in time
//! and size, and what they hold is checked before it is used.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use reqwest::{Client, Method, StatusCode, redirect::Policy};
use serde_json::{Value, json};
use thiserror::Error;

use crate::model::{Endpoint, Session};

/// The user that opencode's own password belongs to.
const USER: &str = "opencode";
const CONNECT: Duration = Duration::from_secs(1);
/// The first question after a start takes 0.4 s (it loads the project), and far longer on a busy machine.
const ANSWER: Duration = Duration::from_secs(5);
const MAX_BYTES: usize = 1 << 20;
const MAX_TITLE: usize = 200;
const MAX_DIRECTORY: usize = 4096;

/// Asks opencode instances; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Opencode(Client);

/// Why there is no answer to build on.
#[derive(Debug, Error)]
pub(crate) enum OpencodeError {
    #[error("it does not answer: {0}")]
    Silent(String),
    #[error("it answers {0}")]
    Refused(StatusCode),
    #[error("its answer is larger than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("its answer is not what opencode gives: {0}")]
    Strange(&'static str),
}

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
    pub(crate) fn entry(&self) -> String {
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
    /// opencode orders messages by id: 48 bits of milliseconds and counter, then 14 characters. With the time at
    /// which the session was asked for, the message comes before its answer.
    pub(crate) fn of(session: &Session) -> Self {
        let millis = session.created_at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let stamp = |counter: u128| (millis * 0x1000 + counter) & 0xffff_ffff_ffff;
        let name = format!("R0{}", session.hash);
        Self { message: format!("msg_{:012x}{name}", stamp(1)), part: format!("prt_{:012x}{name}", stamp(2)) }
    }
}

impl Opencode {
    pub(crate) fn new() -> Self {
        // A connection each: one that was open while opencode restarted would cost a wrong "it does not answer".
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .pool_max_idle_per_host(0)
            .build();
        Self(client.expect("a client without TLS, proxies and files has nothing that could fail"))
    }

    /// The conversations last used, newest first; `limit` at most.
    pub(crate) async fn conversations(
        &self,
        at: &Endpoint,
        limit: usize,
    ) -> Result<Vec<Conversation>, OpencodeError> {
        let list = self.get(at, &format!("/session?roots=true&limit={limit}")).await?;
        let list = list.as_array().ok_or(OpencodeError::Strange("no list of sessions"))?;
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
            Err(OpencodeError::Refused(StatusCode::NOT_FOUND)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether nothing was said in it yet.
    pub(crate) async fn is_empty(&self, at: &Endpoint, conversation: &str) -> Result<bool, OpencodeError> {
        let messages = self.get(at, &format!("/session/{conversation}/message?limit=1")).await?;
        messages.as_array().map(Vec::is_empty).ok_or(OpencodeError::Strange("no list of messages"))
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
        self.send(at, Method::POST, &path, Some(body)).await.map(drop)
    }

    /// Whether an agent is at work in any conversation, child conversations too. One that waits to ask its
    /// model again, or for its person's answer, is at work.
    pub(crate) async fn is_busy(&self, at: &Endpoint) -> Result<bool, OpencodeError> {
        let status = self.get(at, "/session/status").await?;
        let status = status.as_object().ok_or(OpencodeError::Strange("no status"))?;
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
        let bytes = self.send(at, method, path, body).await?;
        // An unknown path is answered with 200 and the page.
        serde_json::from_slice(&bytes).map_err(|_| OpencodeError::Strange("no JSON"))
    }

    async fn send(
        &self,
        at: &Endpoint,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Vec<u8>, OpencodeError> {
        let silent = |error: reqwest::Error| OpencodeError::Silent(words(error));
        let mut request = self.0.request(method, format!("http://{}{path}", at.address));
        if let Some(password) = &at.password {
            request = request.basic_auth(USER, Some(password.expose()));
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let mut response = request.send().await.map_err(silent)?;
        if !response.status().is_success() {
            return Err(OpencodeError::Refused(response.status()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(silent)? {
            if bytes.len() + chunk.len() > MAX_BYTES {
                return Err(OpencodeError::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

fn conversation(value: &Value) -> Result<Conversation, OpencodeError> {
    let id = value["id"].as_str().unwrap_or_default();
    let proper = |rest: &str| {
        (1..=64).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if !id.strip_prefix("ses_").is_some_and(proper) {
        return Err(OpencodeError::Strange("an id that is none of its own"));
    }
    let directory = value["directory"].as_str().unwrap_or_default();
    if directory.is_empty() || directory.len() > MAX_DIRECTORY {
        return Err(OpencodeError::Strange("no directory"));
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

/// The innermost reason: reqwest's own words say only that sending failed.
fn words(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "it took too long".into();
    }
    let error = error.without_url();
    let mut reason: &dyn std::error::Error = &error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

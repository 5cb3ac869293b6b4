//! The requests that the manager sends to a session's opencode. Their answers may be hostile: [`http`] bounds
//! their size and time, and their content is checked here before it is used.

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

/// Sends requests to the opencode of any session; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct OpencodeClient(HttpClient);

/// A conversation in opencode (its API says *session*) that no other conversation started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conversation {
    pub(crate) id: String,
    /// `None` if it has only the name that opencode gives to every new conversation.
    pub(crate) title: Option<String>,
    /// The folder that the conversation works in.
    directory: String,
}

impl Conversation {
    /// Returns the path of the page that shows the conversation.
    pub(crate) fn landing_path(&self) -> String {
        format!("/{}/session/{}", BASE64_URL_SAFE_NO_PAD.encode(&self.directory), self.id)
    }
}

/// The ids with which an initial message is sent. They depend on the session alone. opencode 1.18 treats a
/// message with the ids of an earlier one as the same message, so a message may be sent again if it is
/// unknown whether it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MessageIds {
    pub(crate) message: String,
    part: String,
}

impl MessageIds {
    /// Returns the ids of a session's initial message. opencode orders messages by id: 48 bits of
    /// milliseconds and counter, then 14 characters. With the session's time of creation, the message is
    /// before its answer.
    pub(crate) fn of(session: &Session) -> Self {
        let millis = session.created_at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let stamp = |counter: u128| (millis * 0x1000 + counter) & 0xffff_ffff_ffff;
        let name = format!("R0{}", session.hash);
        Self { message: format!("msg_{:012x}{name}", stamp(1)), part: format!("prt_{:012x}{name}", stamp(2)) }
    }
}

impl OpencodeClient {
    /// Creates a client.
    pub(crate) fn new() -> Self {
        Self(HttpClient::new())
    }

    /// Returns the conversations that were used last, the newest first; `limit` at most.
    pub(crate) async fn conversations(
        &self,
        endpoint: &Endpoint,
        limit: usize,
    ) -> Result<Vec<Conversation>, OpencodeError> {
        let list = self.get(endpoint, &format!("/session?roots=true&limit={limit}")).await?;
        let list = list.as_array().ok_or(OpencodeError::Unexpected("not a list of sessions"))?;
        list.iter().take(limit).map(conversation).collect()
    }

    /// Creates a conversation.
    pub(crate) async fn create_conversation(
        &self,
        endpoint: &Endpoint,
    ) -> Result<Conversation, OpencodeError> {
        conversation(&self.send_json(endpoint, Method::POST, "/session", Some(json!({}))).await?)
    }

    /// Returns whether the conversation has the message.
    pub(crate) async fn has_message(
        &self,
        endpoint: &Endpoint,
        conversation: &str,
        ids: &MessageIds,
    ) -> Result<bool, OpencodeError> {
        let path = format!("/session/{conversation}/message/{}", ids.message);
        match self.get(endpoint, &path).await {
            Ok(_) => Ok(true),
            Err(OpencodeError::Status(StatusCode::NOT_FOUND)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns whether the conversation has no message.
    pub(crate) async fn is_empty(
        &self,
        endpoint: &Endpoint,
        conversation: &str,
    ) -> Result<bool, OpencodeError> {
        let messages = self.get(endpoint, &format!("/session/{conversation}/message?limit=1")).await?;
        messages.as_array().map(Vec::is_empty).ok_or(OpencodeError::Unexpected("not a list of messages"))
    }

    /// Sends a message. opencode has stored it when this returns, and works on it by itself.
    pub(crate) async fn send_prompt(
        &self,
        endpoint: &Endpoint,
        conversation: &str,
        ids: &MessageIds,
        text: &str,
    ) -> Result<(), OpencodeError> {
        let part = json!({ "id": ids.part, "type": "text", "text": text });
        let body = json!({ "messageID": ids.message, "parts": [part] });
        let path = format!("/session/{conversation}/prompt_async");
        http::bytes(self.request(endpoint, Method::POST, &path, Some(body)), LIMITS).await.map(drop)
    }

    /// Returns whether an agent is working in any conversation, including child conversations. An agent that
    /// waits for its next request to the model, or for the user's answer, is working.
    pub(crate) async fn is_busy(&self, endpoint: &Endpoint) -> Result<bool, OpencodeError> {
        let status = self.get(endpoint, "/session/status").await?;
        let status = status.as_object().ok_or(OpencodeError::Unexpected("not a status"))?;
        Ok(status.values().any(|one| one["type"].as_str() != Some("idle")))
    }

    async fn get(&self, endpoint: &Endpoint, path: &str) -> Result<Value, OpencodeError> {
        self.send_json(endpoint, Method::GET, path, None).await
    }

    async fn send_json(
        &self,
        endpoint: &Endpoint,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, OpencodeError> {
        http::json(self.request(endpoint, method, path, body), LIMITS).await
    }

    fn request(
        &self,
        endpoint: &Endpoint,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> RequestBuilder {
        let request = self.0.request(method, endpoint.address, path, endpoint.password.as_ref());
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
        return Err(OpencodeError::Unexpected("an invalid id"));
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

//! The requests that the manager sends to a session's opencode. Their answers may be hostile: [`http`] bounds
//! their size and time, and their content is checked here before it is used.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::{
    checks::{MAX_DIRECTORY, valid_id},
    event::{self, Part, Role},
    events::EventStream,
    http::{self, HttpClient, Limits, MAX_BYTES, OpencodeError},
};
use crate::model::{Endpoint, Session};

/// The first request after a start takes 0.4 s (opencode loads the project), and far longer on a busy
/// machine.
const LIMITS: Limits = Limits { bytes: MAX_BYTES, time: Duration::from_secs(5) };
/// How many conversations with an agent at work, and how many open questions, are distinguished.
pub(crate) const MAX_BUSY: usize = 64;
const MAX_ID: usize = 80;

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
    /// When it was used last, in milliseconds since 1970.
    pub(crate) updated: u64,
    /// The first message that the user took back, and with it all later ones.
    pub(crate) reverted: Option<String>,
}

impl Conversation {
    /// Returns a conversation for tests.
    #[cfg(test)]
    pub(crate) fn test(id: &str, updated: u64) -> Self {
        Self { id: id.into(), title: None, directory: "/repo".into(), updated, reverted: None }
    }

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
        Ok(self.message(endpoint, conversation, ids).await?.is_some())
    }

    /// Returns whether the conversation has the message with its text. opencode stores the parts of a message
    /// after the message.
    pub(crate) async fn has_prompt(
        &self,
        endpoint: &Endpoint,
        conversation: &str,
        ids: &MessageIds,
    ) -> Result<bool, OpencodeError> {
        let message = self.message(endpoint, conversation, ids).await?.unwrap_or_default();
        Ok(message["parts"].as_array().is_some_and(|parts| !parts.is_empty()))
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

    /// Sends a message. opencode answers at once, and stores it and works on it afterwards.
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
        let request = self.request(endpoint, Method::POST, &path, Some(body));
        Box::pin(http::bytes(request, LIMITS)).await.map(drop)
    }

    /// Returns the conversations, including child conversations, in which an agent works. An agent that waits
    /// for its next request to the model, or for the user's answer, is working. opencode answers for the
    /// folder that it was started in, or for `directory`.
    pub(crate) async fn busy_conversations(
        &self,
        endpoint: &Endpoint,
        directory: Option<&str>,
    ) -> Result<Vec<String>, OpencodeError> {
        let mut request = self.request(endpoint, Method::GET, "/session/status", None);
        if let Some(directory) = directory {
            request = request.query(&[("directory", directory)]);
        }
        let status = Box::pin(http::json(request, LIMITS)).await?;
        let status = status.as_object().ok_or(OpencodeError::Unexpected("not a status"))?;
        let busy = status.iter().filter(|(_, one)| one["type"].as_str() != Some("idle"));
        Ok(busy.map(|(id, _)| id.chars().take(MAX_ID).collect()).take(MAX_BUSY).collect())
    }

    /// Returns what agents asked their user and wait for: pairs of conversation and request.
    pub(crate) async fn open_requests(
        &self,
        endpoint: &Endpoint,
    ) -> Result<Vec<(String, String)>, OpencodeError> {
        let mut requests = Vec::new();
        for (path, prefix) in [("/permission", "per_"), ("/question", "que_")] {
            let list = self.get(endpoint, path).await?;
            let list = list.as_array().ok_or(OpencodeError::Unexpected("not a list of requests"))?;
            requests.extend(list.iter().take(MAX_BUSY).filter_map(|request| {
                let (session, id) = (request["sessionID"].as_str()?, request["id"].as_str()?);
                let valid = valid_id("ses_", session) && valid_id(prefix, id);
                valid.then(|| (session.to_owned(), id.to_owned()))
            }));
        }
        Ok(requests)
    }

    /// Returns the conversation that started this one, if one did.
    pub(crate) async fn parent(
        &self,
        endpoint: &Endpoint,
        conversation: &str,
    ) -> Result<Option<String>, OpencodeError> {
        let conversation = self.get(endpoint, &format!("/session/{conversation}")).await?;
        Ok(event::conversation(&conversation).and_then(|conversation| conversation.parent))
    }

    /// Returns the texts of the newest messages of a conversation, the oldest first; with each, who wrote it.
    pub(crate) async fn texts(
        &self,
        endpoint: &Endpoint,
        conversation: &str,
        limit: usize,
    ) -> Result<Vec<(Role, Part)>, OpencodeError> {
        let path = format!("/session/{conversation}/message?limit={limit}");
        let messages = self.get(endpoint, &path).await?;
        let messages = messages.as_array().ok_or(OpencodeError::Unexpected("not a list of messages"))?;
        let texts = messages.iter().filter_map(|message| {
            let role = Role::parse(message["info"]["role"].as_str()?)?;
            let created = &message["info"]["time"]["created"];
            let parts = message["parts"].as_array()?.iter();
            Some(parts.filter_map(move |part| Some((role, event::part(part, created)?))))
        });
        Ok(texts.flatten().collect())
    }

    /// Opens opencode's event stream.
    pub(crate) async fn events(&self, endpoint: &Endpoint) -> Result<EventStream, OpencodeError> {
        let request = self.request(endpoint, Method::GET, "/global/event", None);
        Box::pin(http::event_stream(request, LIMITS.time)).await.map(EventStream::new)
    }

    async fn message(
        &self,
        endpoint: &Endpoint,
        conversation: &str,
        ids: &MessageIds,
    ) -> Result<Option<Value>, OpencodeError> {
        let path = format!("/session/{conversation}/message/{}", ids.message);
        match self.get(endpoint, &path).await {
            Ok(message) => Ok(Some(message)),
            Err(OpencodeError::Status(StatusCode::NOT_FOUND)) => Ok(None),
            Err(error) => Err(error),
        }
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
        // On the heap: a request is rare, and its future is kilobytes that every monitor would hold.
        Box::pin(http::json(self.request(endpoint, method, path, body), LIMITS)).await
    }

    pub(super) fn request(
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
    let directory = value["directory"].as_str().unwrap_or_default();
    if directory.is_empty() || directory.len() > MAX_DIRECTORY {
        return Err(OpencodeError::Unexpected("no directory"));
    }
    let change = event::conversation(value).ok_or(OpencodeError::Unexpected("an invalid id"))?;
    Ok(Conversation {
        id: change.session,
        title: change.title,
        directory: directory.to_owned(),
        updated: change.updated,
        reverted: change.reverted,
    })
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

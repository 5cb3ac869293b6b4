//! A fake opencode for tests.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{broadcast, watch},
    task::JoinHandle,
};

use crate::model::Password;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The routes of opencode that the router calls, on a loopback port. They behave as those of opencode 1.18.
///
/// Give its [`address`](FakeOpencode::address) to
/// [`MemoryBackend::set_endpoint`](crate::memory::MemoryBackend::set_endpoint).
pub struct FakeOpencode {
    address: SocketAddr,
    server: Arc<Server>,
    task: JoinHandle<()>,
}

struct Server {
    password: Option<Password>,
    behaviour: Mutex<Behaviour>,
    /// The number of requests for the status so far.
    probes: watch::Sender<usize>,
    gate: watch::Sender<Gate>,
    /// The event streams' data; an empty line ends the streams.
    events: broadcast::Sender<String>,
}

/// Holds requests for the status (whether an agent is working).
#[derive(Default)]
struct Gate {
    closed: bool,
    /// The number of requests that may pass although the gate is closed.
    passes: usize,
    /// The number of requests that had to wait so far.
    waited: usize,
}

#[derive(Default)]
struct Behaviour {
    /// The oldest first.
    conversations: Vec<FakeConversation>,
    busy: bool,
    /// Whether there is an event stream; without it, the path is answered with opencode's page.
    events: bool,
    sent_events: usize,
    /// The open questions to the user: conversation and request.
    requests: Vec<(String, String)>,
    unresponsive: bool,
    status: Option<u16>,
    drop_prompt_responses: bool,
    /// Header lines of every response.
    extra_headers: String,
    prompts: usize,
}

struct FakeConversation {
    id: String,
    title: String,
    messages: Vec<Message>,
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

impl FakeOpencode {
    /// The sub-agent's conversation that works while the fake is [busy](FakeOpencode::set_busy).
    pub const CHILD: &str = "ses_child";
    /// A path that opencode does not have; it is answered with the request's `path` and `headers`.
    pub const ECHO: &'static str = "/echo";

    /// Starts a fake that requires this password.
    ///
    /// # Panics
    /// If no loopback port can be bound.
    pub async fn start(password: Option<Password>) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), password).await
    }

    /// Starts a fake at this address.
    ///
    /// # Panics
    /// If the address can't be bound.
    pub async fn start_at(address: SocketAddr, password: Option<Password>) -> Self {
        let listener = TcpListener::bind(address).await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound address");
        let server = Arc::new(Server {
            password,
            behaviour: Mutex::default(),
            probes: watch::Sender::new(0),
            gate: watch::Sender::default(),
            events: broadcast::Sender::new(1024),
        });
        let served = server.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = served.clone();
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        Self { address, server, task }
    }

    /// Returns the fake's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets whether an agent is working.
    pub fn set_busy(&self, busy: bool) {
        self.server.behaviour.lock().busy = busy;
        let status = json!({ "type": if busy { "busy" } else { "idle" } });
        self.send_event("session.status", &json!({ "sessionID": FakeOpencode::CHILD, "status": status }));
    }

    /// Offers an event stream from now on.
    pub fn enable_events(&self) {
        self.server.behaviour.lock().events = true;
    }

    /// Ends all event streams, as a lost connection does.
    pub fn end_event_streams(&self) {
        let _ = self.server.events.send(String::new());
    }

    /// Returns how many event streams are open.
    #[must_use]
    pub fn event_streams(&self) -> usize {
        self.server.events.receiver_count()
    }

    /// Sends an event to all event streams.
    pub fn send_event(&self, kind: &str, properties: &Value) {
        let id = {
            let mut behaviour = self.server.behaviour.lock();
            behaviour.sent_events += 1;
            format!("evt_{:012x}", behaviour.sent_events)
        };
        let payload = json!({ "id": id, "type": kind, "properties": properties });
        let event = json!({ "directory": "/fake/repo", "project": "global", "payload": payload });
        let _ = self.server.events.send(event.to_string());
    }

    /// Asks the user something, or notes that it was answered.
    pub fn set_question(&self, conversation: &str, open: bool) {
        let request = ("que_1", json!({ "sessionID": conversation, "id": "que_1", "requestID": "que_1" }));
        self.server.behaviour.lock().requests =
            open.then(|| (conversation.to_owned(), request.0.to_owned())).into_iter().collect();
        self.send_event(if open { "question.asked" } else { "question.replied" }, &request.1);
    }

    /// Lets the agent write a message with one text, and sends the events of it: the text in words if
    /// `streamed`, and complete.
    pub fn answer(&self, conversation: &str, number: usize, text: &str, streamed: bool) {
        let (message, part) = (format!("msg_{number:04}"), format!("prt_{number:04}"));
        {
            let mut behaviour = self.server.behaviour.lock();
            let found = behaviour.conversations.iter_mut().find(|one| one.id == conversation);
            let parts = vec![(part.clone(), text.to_owned())];
            let answer = Message { id: message.clone(), parts, is_answer: true };
            found.expect("the conversation").messages.push(answer);
        }
        let info = json!({ "id": message, "role": "assistant", "time": { "created": number } });
        self.send_event("message.updated", &json!({ "sessionID": conversation, "info": info }));
        let part_with = |text: &str| json!({ "part": { "id": part, "messageID": message, "sessionID": conversation, "type": "text", "text": text, "time": { "start": number } } });
        if streamed {
            self.send_event("message.part.updated", &part_with(""));
            for word in text.split_inclusive(' ') {
                let delta = json!({ "sessionID": conversation, "messageID": message, "partID": part, "field": "text", "delta": word });
                self.send_event("message.part.delta", &delta);
            }
        }
        self.send_event("message.part.updated", &part_with(text));
    }

    /// Renames a conversation, as a user does, and sends the event of it.
    pub fn rename(&self, conversation: &str, title: &str) {
        let info = {
            let mut behaviour = self.server.behaviour.lock();
            let at = behaviour.conversations.iter().position(|one| one.id == conversation);
            let at = at.expect("the conversation");
            title.clone_into(&mut behaviour.conversations[at].title);
            session(at, &behaviour.conversations[at])
        };
        self.send_event("session.updated", &json!({ "sessionID": conversation, "info": info }));
    }

    /// Holds requests for the status from now on, and returns once one is held.
    ///
    /// # Panics
    /// If none comes within 30 seconds.
    pub async fn hold_status(&self) {
        self.server.gate.send_modify(|gate| gate.closed = true);
        self.waited(1).await;
    }

    /// Answers one held request, and returns once another one is held.
    ///
    /// # Panics
    /// If no other comes within 30 seconds.
    pub async fn release_one_status(&self) {
        let waited = self.server.gate.borrow().waited;
        self.server.gate.send_modify(|gate| gate.passes += 1);
        self.waited(waited + 1).await;
    }

    /// Ends [`hold_status`](FakeOpencode::hold_status).
    pub fn release_status(&self) {
        self.server.gate.send_replace(Gate::default());
    }

    async fn waited(&self, count: usize) {
        let mut gate = self.server.gate.subscribe();
        let all = tokio::time::timeout(TIMEOUT, gate.wait_for(|gate| gate.waited >= count));
        assert!(all.await.is_ok(), "no request for the status came in time");
    }

    /// Sets whether connections are closed without a response.
    pub fn set_unresponsive(&self, unresponsive: bool) {
        self.server.behaviour.lock().unresponsive = unresponsive;
    }

    /// Answers every request with this status; `None` undoes it.
    pub fn refuse_all(&self, status: Option<u16>) {
        self.server.behaviour.lock().status = status;
    }

    /// Sets whether prompts are accepted but not answered.
    pub fn drop_prompt_responses(&self, drop: bool) {
        self.server.behaviour.lock().drop_prompt_responses = drop;
    }

    /// Adds these headers to every response from now on.
    pub fn set_extra_headers(&self, headers: &[(&str, &str)]) {
        let lines = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        self.server.behaviour.lock().extra_headers = lines.collect();
    }

    /// Creates a conversation, as a user does on opencode's page, and returns its id. It is the newest one.
    pub fn create_conversation(&self, title: &str) -> String {
        let (id, info) = {
            let mut behaviour = self.server.behaviour.lock();
            let id = behaviour.create_conversation(title);
            let at = behaviour.conversations.len() - 1;
            (id, session(at, &behaviour.conversations[at]))
        };
        self.send_event("session.created", &json!({ "sessionID": id, "info": info }));
        id
    }

    /// Returns the id and the users' messages of every conversation, the oldest first.
    #[must_use]
    pub fn conversations(&self) -> Vec<(String, Vec<Message>)> {
        let behaviour = self.server.behaviour.lock();
        behaviour
            .conversations
            .iter()
            .map(|conversation| (conversation.id.clone(), conversation.messages.clone()))
            .collect()
    }

    /// Returns how often a prompt was sent, including repetitions.
    #[must_use]
    pub fn prompts(&self) -> usize {
        self.server.behaviour.lock().prompts
    }

    /// Waits for `times` further requests for the status.
    ///
    /// # Panics
    /// If they do not come within 30 seconds.
    pub async fn wait_for_probes(&self, times: usize) {
        let mut probes = self.server.probes.subscribe();
        let goal = *probes.borrow_and_update() + times;
        let all = tokio::time::timeout(TIMEOUT, probes.wait_for(|count| *count >= goal));
        assert!(all.await.is_ok(), "no request for the status came in time");
    }
}

impl Drop for FakeOpencode {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Behaviour {
    fn create_conversation(&mut self, title: &str) -> String {
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
        let Some(conversation) = self.conversations.iter_mut().find(|one| one.id == conversation) else {
            return (404, json!({ "name": "NotFoundError" }));
        };
        let (Some(id), Some(part)) = (body["messageID"].as_str(), body["parts"][0]["id"].as_str()) else {
            return (400, json!({ "name": "BadRequest" }));
        };
        let text = body["parts"][0]["text"].as_str().unwrap_or_default().to_owned();
        let at = conversation.messages.iter().position(|message| message.id == id).unwrap_or_else(|| {
            conversation.messages.push(Message { id: id.to_owned(), parts: Vec::new(), is_answer: false });
            conversation.messages.len() - 1
        });
        let parts = &mut conversation.messages[at].parts;
        parts.retain(|(other, _)| other != part);
        parts.push((part.to_owned(), text));
        (204, Value::Null)
    }

    fn answer(&mut self, method: &str, path: &str, query: &str, body: &Value) -> (u16, Value) {
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
            ("GET", ["session", "status"]) if self.busy => {
                (200, json!({ FakeOpencode::CHILD: { "type": "busy" } }))
            }
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

impl Server {
    async fn serve(&self, mut stream: TcpStream) {
        let Some((head, body)) = read_request(&mut stream).await else { return };
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path == "/session/status" {
            self.probes.send_modify(|count| *count += 1);
            self.pass_gate().await;
        }
        if path == "/global/event" && self.behaviour.lock().events && self.admits(&head) {
            return self.serve_events(stream).await;
        }
        let extra_headers = self.behaviour.lock().extra_headers.clone();
        let (status, answer) = if self.admits(&head) {
            let mut behaviour = self.behaviour.lock();
            if behaviour.unresponsive {
                return;
            }
            let answer = match behaviour.status {
                Some(status) => (status, Value::Null),
                None if path == FakeOpencode::ECHO => (200, echo(&head)),
                None => behaviour.answer(method, path, query, &body),
            };
            if path.ends_with("/prompt_async") && behaviour.drop_prompt_responses {
                return;
            }
            answer
        } else {
            (401, Value::Null)
        };
        let (content_type, text) = match &answer {
            Value::Null => ("text/plain", String::new()),
            Value::String(page) => ("text/html", page.clone()),
            other => ("application/json", other.to_string()),
        };
        let length = text.len();
        let response = format!(
            "HTTP/1.1 {status} Fake\r\n{extra_headers}content-type: {content_type}\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{text}"
        );
        // The client may have closed the connection.
        let _ = stream.write_all(response.as_bytes()).await;
    }

    /// Sends events until the stream is ended, by either side.
    async fn serve_events(&self, mut stream: TcpStream) {
        let mut events = self.events.subscribe();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        if stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        let (mut reader, mut writer) = stream.split();
        let mut byte = [0];
        loop {
            tokio::select! {
                // The client sends nothing more: this is its end.
                _ = reader.read(&mut byte) => return,
                event = events.recv() => {
                    let Some(event) = event.ok().filter(|event| !event.is_empty()) else { return };
                    if writer.write_all(format!("data: {event}\n\n").as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn pass_gate(&self) {
        let mut gate = self.gate.subscribe();
        self.gate.send_if_modified(|gate| {
            gate.waited += usize::from(gate.closed);
            gate.closed
        });
        let mut passed = false;
        while !passed {
            // The sender is in `self`, so it exists.
            let _ = gate.wait_for(|gate| !gate.closed || gate.passes > 0).await;
            self.gate.send_if_modified(|gate| {
                let took = gate.closed && gate.passes > 0;
                gate.passes -= usize::from(took);
                passed = took || !gate.closed;
                took
            });
        }
    }

    fn admits(&self, head: &str) -> bool {
        let Some(password) = &self.password else { return true };
        let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("opencode:{}", password.expose())));
        head.lines().any(|line| {
            line.split_once(": ").is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("authorization") && value.trim() == expected
            })
        })
    }
}

/// Returns a conversation as opencode describes it; `at` is its place among all.
fn session(at: usize, conversation: &FakeConversation) -> Value {
    let time = json!({ "created": at, "updated": at });
    json!({ "id": conversation.id, "title": conversation.title, "directory": "/fake/repo", "time": time })
}

/// Returns the path and the headers of a request, with their names in lower case. Repeated headers are joined
/// by commas.
fn echo(head: &str) -> Value {
    let mut lines = head.lines();
    let path = lines.next().and_then(|line| line.split(' ').nth(1));
    let mut headers = BTreeMap::<String, String>::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let values = headers.entry(name.to_lowercase()).or_default();
        *values =
            if values.is_empty() { value.trim().to_owned() } else { format!("{values}, {}", value.trim()) };
    }
    json!({ "path": path, "headers": headers })
}

/// Reads a request: its head as text, its body as JSON.
async fn read_request(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            let body = &bytes[end + 4..];
            if body.len() >= length.unwrap_or(0) {
                return Some((head, serde_json::from_slice(body).unwrap_or_default()));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

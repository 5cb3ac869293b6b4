use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::model::Password;

const PATIENCE: Duration = Duration::from_secs(30);

/// As much of opencode as the manager asks for, on a loopback port of its own; behaves as opencode 1.18 was
/// seen to.
///
/// Give its [`address`](FakeOpencode::address) to
/// [`MemoryBackend::set_endpoint`](super::MemoryBackend::set_endpoint).
pub struct FakeOpencode {
    address: SocketAddr,
    inside: Arc<Inside>,
    server: JoinHandle<()>,
}

struct Inside {
    password: Option<Password>,
    state: Mutex<State>,
    /// How often it was asked whether an agent is at work.
    asked: watch::Sender<usize>,
    gate: watch::Sender<Gate>,
}

/// Where who asks whether an agent is at work may have to wait.
#[derive(Default)]
struct Gate {
    closed: bool,
    /// How many may pass all the same.
    passes: usize,
    /// How many had to wait so far.
    waited: usize,
}

#[derive(Default)]
struct State {
    /// Oldest first.
    conversations: Vec<Talk>,
    busy: bool,
    silent: bool,
    refuses: Option<u16>,
    lose_answers_to_prompts: bool,
    /// Header lines of every answer.
    extra_headers: String,
    prompts: usize,
}

struct Talk {
    id: String,
    title: String,
    messages: Vec<Message>,
}

/// A message that a person sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id; one message has one, however often it is sent.
    pub id: String,
    /// The ids of its parts, and their texts.
    pub parts: Vec<(String, String)>,
}

impl FakeOpencode {
    /// A path that opencode does not have; it is answered with the request's `path` and `headers`.
    pub const ECHO: &'static str = "/echo";

    /// Starts one that asks for this password.
    ///
    /// # Panics
    /// Where no loopback port can be had.
    pub async fn start(password: Option<Password>) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), password).await
    }

    /// Starts one at this address.
    ///
    /// # Panics
    /// Where that can't be had.
    pub async fn start_at(address: SocketAddr, password: Option<Password>) -> Self {
        let listener = TcpListener::bind(address).await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound address");
        let inside = Arc::new(Inside {
            password,
            state: Mutex::default(),
            asked: watch::Sender::new(0),
            gate: watch::Sender::default(),
        });
        let served = inside.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let inside = served.clone();
                tokio::spawn(async move { inside.serve(stream).await });
            }
        });
        Self { address, inside, server }
    }

    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An agent is at work, or is not.
    pub fn set_busy(&self, busy: bool) {
        self.inside.state.lock().busy = busy;
    }

    /// Whoever asks whether an agent is at work has to wait for the answer from now on; returns once one
    /// waits.
    ///
    /// # Panics
    /// Where nobody asks within half a minute.
    pub async fn hold_status(&self) {
        self.inside.gate.send_modify(|gate| gate.closed = true);
        self.waited(1).await;
    }

    /// Answers one who waits, and returns once another one waits.
    ///
    /// # Panics
    /// Where nobody asks again within half a minute.
    pub async fn answer_one(&self) {
        let waited = self.inside.gate.borrow().waited;
        self.inside.gate.send_modify(|gate| gate.passes += 1);
        self.waited(waited + 1).await;
    }

    /// Answers all, as before [`hold_status`](FakeOpencode::hold_status).
    pub fn release_status(&self) {
        self.inside.gate.send_replace(Gate::default());
    }

    async fn waited(&self, count: usize) {
        let mut gate = self.inside.gate.subscribe();
        let all = tokio::time::timeout(PATIENCE, gate.wait_for(|gate| gate.waited >= count));
        assert!(all.await.is_ok(), "nobody asked whether an agent is at work");
    }

    /// It takes connections and closes them without an answer.
    pub fn set_silent(&self, silent: bool) {
        self.inside.state.lock().silent = silent;
    }

    /// It answers everything with this status, whoever asks; `None`: as it should.
    pub fn refuse_all(&self, status: Option<u16>) {
        self.inside.state.lock().refuses = status;
    }

    /// It takes prompts, and its answers to them are lost.
    pub fn lose_answers_to_prompts(&self, lose: bool) {
        self.inside.state.lock().lose_answers_to_prompts = lose;
    }

    /// Adds these headers to every answer from now on.
    pub fn set_extra_headers(&self, headers: &[(&str, &str)]) {
        let lines = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        self.inside.state.lock().extra_headers = lines.collect();
    }

    /// Somebody begins a conversation on its page; it is the newest from then on.
    pub fn converse(&self, title: &str) -> String {
        self.inside.state.lock().converse(title)
    }

    /// Every conversation's id and what people said in it, oldest first.
    #[must_use]
    pub fn conversations(&self) -> Vec<(String, Vec<Message>)> {
        let state = self.inside.state.lock();
        state.conversations.iter().map(|talk| (talk.id.clone(), talk.messages.clone())).collect()
    }

    /// How often a prompt was sent, the same ones too.
    #[must_use]
    pub fn prompts(&self) -> usize {
        self.inside.state.lock().prompts
    }

    /// Waits until it was asked `times` more whether an agent is at work.
    ///
    /// # Panics
    /// Where nobody asks so often within half a minute.
    pub async fn asked(&self, times: usize) {
        let mut asked = self.inside.asked.subscribe();
        let goal = *asked.borrow_and_update() + times;
        let all = tokio::time::timeout(PATIENCE, asked.wait_for(|count| *count >= goal));
        assert!(all.await.is_ok(), "nobody asked whether an agent is at work");
    }
}

impl Drop for FakeOpencode {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl State {
    fn converse(&mut self, title: &str) -> String {
        let id = format!("ses_fake{}", self.conversations.len() + 1);
        self.conversations.push(Talk { id: id.clone(), title: title.to_owned(), messages: Vec::new() });
        id
    }

    fn prompt(&mut self, talk: &str, body: &Value) -> (u16, Value) {
        self.prompts += 1;
        let Some(talk) = self.conversations.iter_mut().find(|one| one.id == talk) else {
            return (404, json!({ "name": "NotFoundError" }));
        };
        let (Some(id), Some(part)) = (body["messageID"].as_str(), body["parts"][0]["id"].as_str()) else {
            return (400, json!({ "name": "BadRequest" }));
        };
        let text = body["parts"][0]["text"].as_str().unwrap_or_default().to_owned();
        let at = talk.messages.iter().position(|message| message.id == id).unwrap_or_else(|| {
            talk.messages.push(Message { id: id.to_owned(), parts: Vec::new() });
            talk.messages.len() - 1
        });
        let parts = &mut talk.messages[at].parts;
        parts.retain(|(other, _)| other != part);
        parts.push((part.to_owned(), text));
        (204, Value::Null)
    }

    fn answer(&mut self, method: &str, path: &str, query: &str, body: &Value) -> (u16, Value) {
        let parts: Vec<_> = path.trim_matches('/').split('/').collect();
        let session = |talk: &Talk| json!({ "id": talk.id, "title": talk.title, "directory": "/fake/repo" });
        match (method, parts.as_slice()) {
            ("GET", ["global", "health"]) => (200, json!({ "healthy": true, "version": "1.18.0" })),
            ("GET", ["session"]) => {
                let limit = query.split('&').find_map(|pair| pair.strip_prefix("limit="));
                let limit = limit.and_then(|limit| limit.parse().ok()).unwrap_or(100);
                (200, self.conversations.iter().rev().take(limit).map(session).collect())
            }
            ("POST", ["session"]) => {
                self.converse("New session - 2026-11-23T16:19:39.611Z");
                (200, self.conversations.last().map(session).unwrap_or_default())
            }
            ("GET", ["session", "status"]) if self.busy => (200, json!({ "ses_child": { "type": "busy" } })),
            ("GET", ["session", "status"]) => (200, json!({})),
            ("GET", ["session", talk, "message", rest @ ..]) => {
                let Some(talk) = self.conversations.iter().find(|one| one.id == *talk) else {
                    return (404, json!({ "name": "NotFoundError" }));
                };
                let info = |message: &Message| json!({ "info": { "id": message.id, "role": "user" } });
                match rest.first() {
                    None => (200, talk.messages.iter().map(info).collect()),
                    Some(id) => match talk.messages.iter().find(|message| message.id == *id) {
                        Some(message) => (200, info(message)),
                        None => (404, json!({ "name": "NotFoundError" })),
                    },
                }
            }
            ("POST", ["session", talk, "prompt_async"]) => self.prompt(talk, body),
            // As opencode does: the page.
            _ => (200, Value::String("<!doctype html>".into())),
        }
    }
}

impl Inside {
    async fn serve(&self, mut stream: TcpStream) {
        let Some((head, body)) = read_request(&mut stream).await else { return };
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path == "/session/status" {
            self.asked.send_modify(|count| *count += 1);
            self.pass_gate().await;
        }
        let extra_headers = self.state.lock().extra_headers.clone();
        let (status, answer) = if self.admits(&head) {
            let mut state = self.state.lock();
            if state.silent {
                return;
            }
            let answer = match state.refuses {
                Some(status) => (status, Value::Null),
                None if path == FakeOpencode::ECHO => (200, echo(&head)),
                None => state.answer(method, path, query, &body),
            };
            if path.ends_with("/prompt_async") && state.lose_answers_to_prompts {
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
        // Whoever asked may be gone.
        let _ = stream.write_all(response.as_bytes()).await;
    }

    async fn pass_gate(&self) {
        let mut gate = self.gate.subscribe();
        self.gate.send_if_modified(|gate| {
            gate.waited += usize::from(gate.closed);
            gate.closed
        });
        let mut passed = false;
        while !passed {
            // The sender is in `self`: it can't be gone.
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

/// The path and the headers of a request, their names in lower case. Repeated headers are joined by commas.
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

/// One request: its head as text, its body as JSON.
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

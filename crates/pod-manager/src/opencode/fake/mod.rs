//! A fake opencode for tests.

mod behaviour;
mod gate;
mod request;
mod server;

use std::{net::SocketAddr, sync::Arc};

use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use self::{
    behaviour::{CHILD, session},
    gate::TIMEOUT,
    server::{ECHO, Server},
};
use crate::model::Password;

pub use self::behaviour::{Message, Storing};

/// The routes of opencode that the router calls, on a loopback port. They behave as those of opencode 1.18.
///
/// Give its [`address`](FakeOpencode::address) to
/// [`MemoryBackend::set_endpoint`](crate::memory::MemoryBackend::set_endpoint).
pub struct FakeOpencode {
    address: SocketAddr,
    server: Arc<Server>,
    task: JoinHandle<()>,
}

impl FakeOpencode {
    /// The sub-agent's conversation that works while the fake is [busy](FakeOpencode::set_busy).
    pub const CHILD: &str = CHILD;
    /// A path that opencode does not have; it is answered with the request's `path` and `headers`.
    pub const ECHO: &'static str = ECHO;

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
        let server = Arc::new(Server::new(password));
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
        self.server.gate.hold().await;
    }

    /// Answers one held request, and returns once another one is held.
    ///
    /// # Panics
    /// If no other comes within 30 seconds.
    pub async fn release_one_status(&self) {
        self.server.gate.release_one().await;
    }

    /// Ends [`hold_status`](FakeOpencode::hold_status).
    pub fn release_status(&self) {
        self.server.gate.release();
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

    /// Sets how much of a prompt is stored, also of those that were accepted before.
    pub fn set_storing(&self, storing: Storing) {
        let mut behaviour = self.server.behaviour.lock();
        behaviour.storing = storing;
        behaviour.store();
    }

    /// Returns how often a single message was asked for.
    #[must_use]
    pub fn message_requests(&self) -> usize {
        self.server.behaviour.lock().message_requests
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

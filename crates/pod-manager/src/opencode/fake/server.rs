//! The connections: HTTP/1.1 with one request each, and the event streams.

use base64::{Engine, prelude::BASE64_STANDARD};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{broadcast, watch},
};

use super::{
    behaviour::Behaviour,
    gate::Gate,
    request::{echo, read_request},
};
use crate::model::Password;

/// The path that is answered with the request.
pub(super) const ECHO: &str = "/echo";

/// What the connections share.
pub(super) struct Server {
    password: Option<Password>,
    pub(super) behaviour: Mutex<Behaviour>,
    /// The number of requests for the status so far.
    pub(super) probes: watch::Sender<usize>,
    pub(super) gate: Gate,
    /// The event streams' data; an empty line ends the streams.
    pub(super) events: broadcast::Sender<String>,
}

impl Server {
    pub(super) fn new(password: Option<Password>) -> Self {
        Self {
            password,
            behaviour: Mutex::default(),
            probes: watch::Sender::new(0),
            gate: Gate::default(),
            events: broadcast::Sender::new(1024),
        }
    }

    /// Answers one request, and closes the connection.
    pub(super) async fn serve(&self, mut stream: TcpStream) {
        let Some((head, body)) = read_request(&mut stream).await else { return };
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path == "/session/status" {
            self.probes.send_modify(|count| *count += 1);
            self.gate.pass().await;
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
                None if path == ECHO => (200, echo(&head)),
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

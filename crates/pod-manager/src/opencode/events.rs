//! Reads opencode's event stream (`GET /global/event`, server-sent events) with bounds.
//!
//! What is sent may be hostile. A stream costs the router a known amount at most:
//!
//! - memory: one event of [`MAX_EVENT`] bytes; a larger one is skipped and reported as
//!   [`Received::Oversized`], since a file that a user attaches to a prompt is one event;
//! - processor time: [`MAX_BYTES_PER_WINDOW`] bytes and [`MAX_EVENTS_PER_WINDOW`] events in each second.
//!   Beyond that nothing is read until the second is over, and opencode has to wait;
//! - time: a stream without a complete line for [`SILENCE`] is over. opencode sends a heartbeat every 10 s.

use std::{mem, time::Duration};

use bytes::{Buf, Bytes};
use reqwest::Response;
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    event,
    http::{OpencodeError, transport_error},
};

/// The largest event that is kept, in bytes.
pub(super) const MAX_EVENT: usize = 256 * 1024;
/// How long a stream may be silent: three heartbeats, and some time for a busy machine.
const SILENCE: Duration = Duration::from_secs(35);
const WINDOW: Duration = Duration::from_secs(1);
const MAX_BYTES_PER_WINDOW: usize = 4 * 1024 * 1024;
const MAX_EVENTS_PER_WINDOW: usize = 4096;

/// What was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Received {
    /// An event, as opencode sent it.
    Event(RawEvent),
    /// An event that was too large, and is lost.
    Oversized,
}

/// An event, as opencode sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawEvent {
    /// `payload.id`, if it has one. opencode 1.18 sends many events twice, the second time with type `sync`
    /// and the same id.
    pub(crate) id: Option<Box<str>>,
    /// `payload.type`.
    pub(crate) kind: Box<str>,
    /// The JSON after `data:`.
    pub(crate) data: Bytes,
}

impl RawEvent {
    /// Whether the event repeats the one before with the same id, for other servers.
    pub(crate) fn is_sync(&self) -> bool {
        &*self.kind == event::SYNC
    }

    /// Whether the event is about the connection alone, so that no other connection has it.
    pub(crate) fn is_of_connection(&self) -> bool {
        event::is_of_connection(&self.kind)
    }
}

/// An open event stream. Dropping it closes the connection.
pub(crate) struct EventStream {
    response: Response,
    chunk: Bytes,
    parser: Parser,
    pace: Pace,
}

impl EventStream {
    pub(super) fn new(response: Response) -> Self {
        Self { response, chunk: Bytes::new(), parser: Parser::default(), pace: Pace::new() }
    }

    /// Returns the next event. Not cancel safe: call it in a loop that owns the stream.
    ///
    /// # Errors
    /// The stream ended, broke, or was silent for too long.
    pub(crate) async fn next(&mut self) -> Result<Received, OpencodeError> {
        let mut deadline = Instant::now() + SILENCE;
        loop {
            while !self.chunk.is_empty() {
                match self.parser.push(&mut self.chunk) {
                    Some(received) => {
                        self.pace.count_event().await;
                        return Ok(received);
                    }
                    None if self.parser.ended_line() => deadline = Instant::now() + SILENCE,
                    None => {}
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            self.chunk = match timeout(left, self.response.chunk()).await {
                Err(_) => return Err(OpencodeError::Timeout),
                Ok(Err(error)) => return Err(transport_error(error)),
                Ok(Ok(None)) => return Err(OpencodeError::Unreachable("the event stream ended".into())),
                Ok(Ok(Some(chunk))) => chunk,
            };
            self.pace.count_bytes(self.chunk.len()).await;
        }
    }
}

/// Takes server-sent events out of bytes. Only `data` is read: opencode sends no other field.
#[derive(Default)]
struct Parser {
    /// The present line, without its end.
    line: Vec<u8>,
    /// The data lines of the present event.
    data: Data,
    /// Whether the last call ended a line.
    ended_line: bool,
}

#[derive(Default)]
enum Data {
    #[default]
    None,
    Line(Bytes),
    Lines(Vec<u8>),
    Oversized,
}

impl Parser {
    fn ended_line(&self) -> bool {
        self.ended_line
    }

    /// Reads up to the end of a line. Returns the event that ends there, if one does.
    fn push(&mut self, chunk: &mut Bytes) -> Option<Received> {
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = chunk.split_to(end.unwrap_or(chunk.len()));
        self.ended_line = end.is_some();
        if matches!(self.data, Data::Oversized) || self.line.len() + part.len() + self.data.len() > MAX_EVENT
        {
            // Nothing more of this event is kept, except whether a line is empty.
            if part.iter().any(|byte| *byte != b'\r') {
                (self.line, self.data) = (vec![b'x'], Data::Oversized);
            }
        } else {
            self.line.extend_from_slice(&part);
        }
        end?;
        chunk.advance(1);
        let mut line = mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if line.is_empty() { self.end_event() } else { self.end_line(line) }
    }

    fn end_line(&mut self, line: Vec<u8>) -> Option<Received> {
        let value = line.strip_prefix(b"data:")?;
        let start = line.len() - value.strip_prefix(b" ").unwrap_or(value).len();
        self.data = match mem::take(&mut self.data) {
            Data::None => Data::Line(Bytes::from(line).slice(start..)),
            Data::Line(first) => Data::Lines([&first, b"\n".as_slice(), &line[start..]].concat()),
            Data::Lines(mut lines) => {
                lines.push(b'\n');
                lines.extend_from_slice(&line[start..]);
                Data::Lines(lines)
            }
            Data::Oversized => Data::Oversized,
        };
        None
    }

    fn end_event(&mut self) -> Option<Received> {
        let data = match mem::take(&mut self.data) {
            Data::None => return None,
            Data::Oversized => return Some(Received::Oversized),
            Data::Line(line) => line,
            Data::Lines(lines) => lines.into(),
        };
        let head = event::head(&data);
        Some(Received::Event(RawEvent { id: head.id, kind: head.kind, data }))
    }
}

impl Data {
    fn len(&self) -> usize {
        match self {
            Self::None | Self::Oversized => 0,
            Self::Line(line) => line.len(),
            Self::Lines(lines) => lines.len(),
        }
    }
}

/// Counts what came in the present second.
struct Pace {
    ends: Instant,
    bytes: usize,
    events: usize,
}

impl Pace {
    fn new() -> Self {
        Self { ends: Instant::now() + WINDOW, bytes: 0, events: 0 }
    }

    async fn count_bytes(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.wait().await;
    }

    async fn count_event(&mut self) {
        self.events += 1;
        self.wait().await;
    }

    async fn wait(&mut self) {
        let exceeded = self.bytes > MAX_BYTES_PER_WINDOW || self.events > MAX_EVENTS_PER_WINDOW;
        if exceeded {
            sleep_until(self.ends).await;
        }
        if exceeded || Instant::now() >= self.ends {
            *self = Self::new();
        }
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;

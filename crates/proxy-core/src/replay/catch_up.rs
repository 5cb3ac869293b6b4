//! Brings a client up to date from the log, and finds the event from which the session's stream continues.

use std::{
    collections::HashSet,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream::BoxStream};
use tokio::time::{Sleep, sleep};

use super::{
    log::LoggedEvent,
    parser::{write, write_id},
};

/// How many events may be sent from the log before the session's stream has reached one of them.
const MAX_SENT: usize = 16 * 1024;
/// How many bytes of the session's stream may wait until the log has reached them.
const MAX_HELD: usize = 512 * 1024;

/// The log and the session's stream, which have the same events. Either may be ahead.
pub(super) struct CatchUp {
    log: BoxStream<'static, LoggedEvent>,
    /// The ids of the events that were sent from the log.
    sent: HashSet<String>,
    /// Events of the session's stream that the log has not reached.
    held: Held,
    max_lag: Duration,
    /// When the log is given up, if anything is held.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// What the log has for a client.
pub(super) enum Progress {
    /// An event was sent.
    Sent,
    /// The session's stream continues; the events with these ids were sent already.
    Level(HashSet<String>),
    /// The log does not have what the client missed.
    Lost(Held),
    /// The session's stream is too far behind.
    TooFarApart,
}

impl CatchUp {
    pub(super) fn new(log: BoxStream<'static, LoggedEvent>, max_lag: Duration) -> Self {
        Self { log, sent: HashSet::new(), held: Held::default(), max_lag, deadline: None }
    }

    /// Sends the log's next event.
    pub(super) fn poll_log(&mut self, context: &mut Context<'_>, out: &mut BytesMut) -> Poll<Progress> {
        Poll::Ready(match self.log.poll_next_unpin(context) {
            Poll::Ready(Some(event)) if self.held.contains(&event.id) => {
                self.held.write(out);
                Progress::Level(std::mem::take(&mut self.sent))
            }
            Poll::Ready(Some(_)) if self.sent.len() >= MAX_SENT => Progress::TooFarApart,
            Poll::Ready(Some(event)) => {
                write(out, Some(&event.id), &event.data);
                self.sent.insert(event.id);
                Progress::Sent
            }
            Poll::Ready(None) => Progress::Lost(std::mem::take(&mut self.held)),
            Poll::Pending => {
                let deadline = self.deadline.as_mut();
                let is_late = deadline.is_some_and(|deadline| deadline.as_mut().poll(context).is_ready());
                if !is_late && self.held.bytes <= MAX_HELD {
                    return Poll::Pending;
                }
                Progress::Lost(std::mem::take(&mut self.held))
            }
        })
    }

    /// Takes an event of the session's stream. If it was sent already, the session's stream continues, and
    /// the ids of all events that were sent are returned.
    pub(super) fn hold(&mut self, id: String, event: Bytes, out: &mut BytesMut) -> Option<HashSet<String>> {
        if self.sent.contains(&id) {
            self.held.write(out);
            return Some(std::mem::take(&mut self.sent));
        }
        self.held.push(id, event);
        let max_lag = self.max_lag;
        self.deadline.get_or_insert_with(|| Box::pin(sleep(max_lag)));
        None
    }

    pub(super) fn into_held(self) -> Held {
        self.held
    }
}

/// Events of the session's stream that are sent later.
#[derive(Debug, Default)]
pub(super) struct Held {
    events: Vec<(String, Bytes)>,
    bytes: usize,
}

impl Held {
    pub(super) fn push(&mut self, id: String, event: Bytes) {
        self.bytes += event.len();
        self.events.push((id, event));
    }

    /// Sends all of them.
    pub(super) fn write(&mut self, out: &mut BytesMut) {
        self.bytes = 0;
        for (id, event) in self.events.drain(..) {
            write_id(out, &id);
            out.extend_from_slice(&event);
        }
    }

    fn contains(&self, id: &str) -> bool {
        self.events.iter().any(|(held, _)| held == id)
    }
}

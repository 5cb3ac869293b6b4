//! The body of a resumable event stream.

use std::{
    collections::HashSet,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream::BoxStream};
use http_body::{Body as HttpBody, Frame};
use thiserror::Error;
use tokio::time::{Sleep, sleep};

use super::{
    catch_up::{CatchUp, Held, Progress},
    log::EventLog,
    parser::{self, Parser, Piece},
    settings::{MAX_ID, Settings},
};
use crate::body::{Body, BodyError};

/// What a client gets first.
#[derive(Debug)]
pub(super) enum Start {
    /// It connects for the first time: events from now on.
    Live,
    /// It reconnects: the events after this one.
    After(String),
    /// It reconnects and its last event is unknown.
    Resync,
}

/// Why a resumable stream ended. The client reconnects.
#[derive(Debug, Error)]
enum StreamEnd {
    #[error("the session ended the event stream")]
    BySession,
    #[error("the session's event stream and its log differ by too many events")]
    TooFarApart,
}

/// Passes the events of a session's stream on, with ids, after those that the client missed.
pub(super) struct ReplayBody {
    session: Body,
    log: Arc<dyn EventLog>,
    settings: Settings,
    /// The client's last event when it connected; empty if it is unknown.
    last: String,
    parser: Parser,
    phase: Phase,
    /// What is sent next.
    out: BytesMut,
    /// How the stream fails once `out` is sent.
    end: Option<BodyError>,
    /// Whether the stream ends properly once `out` is sent.
    is_over: bool,
}

enum Phase {
    /// Events come from the session. Those in the set were sent from the log; the set is empty once the
    /// stream has passed them.
    Live(HashSet<String>),
    /// Events come from the log, until the session's stream has reached the same event.
    CatchUp(Box<CatchUp>),
    /// The client missed events that the log does not have.
    Resync(Box<Resync>),
    /// The session gives its events ids itself.
    Untouched,
}

struct Resync {
    /// `None` until the session's stream has begun: what happens after that, the stream has.
    events: Option<BoxStream<'static, Bytes>>,
    /// When `events` begin even if the session's stream is silent.
    silence: Pin<Box<Sleep>>,
    /// Events of the session's stream that follow.
    held: Held,
}

impl ReplayBody {
    pub(super) fn new(session: Body, log: Arc<dyn EventLog>, start: Start, settings: Settings) -> Self {
        let (phase, last) = match start {
            Start::Live => (Phase::Live(HashSet::new()), String::new()),
            Start::After(id) => {
                (Phase::CatchUp(Box::new(CatchUp::new(log.after(&id), settings.max_lag))), id)
            }
            Start::Resync => (Phase::resync(Held::default(), &settings), String::new()),
        };
        let mut out = BytesMut::new();
        if let Some(retry) = settings.retry {
            out.extend_from_slice(format!("retry: {}\n\n", retry.as_millis()).as_bytes());
        }
        let parser = Parser::new(settings.max_event);
        Self { session, log, settings, last, parser, phase, out, end: None, is_over: false }
    }

    /// Makes progress until there is something to send, or something to wait for.
    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.phase {
            Phase::Live(_) | Phase::Untouched => self.poll_session(context),
            Phase::CatchUp(catch_up) => match catch_up.poll_log(context, &mut self.out) {
                Poll::Ready(progress) => {
                    match progress {
                        Progress::Sent => {}
                        Progress::Level(sent) => self.phase = Phase::Live(sent),
                        Progress::Lost(held) => self.phase = Phase::resync(held, &self.settings),
                        Progress::TooFarApart => self.end = Some(StreamEnd::TooFarApart.into()),
                    }
                    Poll::Ready(())
                }
                Poll::Pending => self.poll_session(context),
            },
            Phase::Resync(resync) => {
                let Some(events) = &mut resync.events else {
                    if resync.silence.as_mut().poll(context).is_ready() {
                        resync.events = Some(self.log.resync(&self.last));
                        return Poll::Ready(());
                    }
                    return self.poll_session(context);
                };
                match ready!(events.poll_next_unpin(context)) {
                    Some(data) => parser::write(&mut self.out, None, &data),
                    None => {
                        resync.held.write(&mut self.out);
                        self.phase = Phase::Live(HashSet::new());
                    }
                }
                Poll::Ready(())
            }
        }
    }

    /// Reads the session's stream once.
    fn poll_session(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match ready!(Pin::new(&mut self.session).poll_frame(context)) {
            Some(Ok(frame)) => {
                if let Ok(chunk) = frame.into_data() {
                    self.read(&chunk);
                }
            }
            Some(Err(error)) => self.end = Some(error),
            None if matches!(self.phase, Phase::Untouched) => self.is_over = true,
            None => self.end = Some(StreamEnd::BySession.into()),
        }
        Poll::Ready(())
    }

    fn read(&mut self, chunk: &[u8]) {
        if matches!(self.phase, Phase::Untouched) {
            self.out.extend_from_slice(chunk);
            return;
        }
        self.parser.push(chunk);
        while let Some(piece) = self.parser.next() {
            match piece {
                Piece::Event(event) => self.pass_on(event),
                Piece::Lines(lines) => self.out.extend_from_slice(&lines),
                Piece::Fragment(fragment) => self.pass_on_fragment(&fragment),
            }
        }
        match &mut self.phase {
            Phase::Resync(resync) if resync.events.is_none() => {
                resync.events = Some(self.log.resync(&self.last));
            }
            Phase::Untouched => self.out.extend_from_slice(&self.parser.take_rest()),
            _ => {}
        }
    }

    fn pass_on(&mut self, event: Bytes) {
        if matches!(self.phase, Phase::Untouched) {
            return self.out.extend_from_slice(&event);
        }
        if parser::has_id(&event) {
            self.leave_untouched();
            return self.out.extend_from_slice(&event);
        }
        let id = parser::data(&event).and_then(|data| self.log.id_of(&data)).filter(|id| is_id(id));
        let Some(id) = id else { return self.out.extend_from_slice(&event) };
        match &mut self.phase {
            Phase::Live(sent) => {
                if !sent.is_empty() {
                    if sent.contains(&id) {
                        return;
                    }
                    *sent = HashSet::new();
                }
                parser::write_id(&mut self.out, &id);
                self.out.extend_from_slice(&event);
            }
            Phase::CatchUp(catch_up) => {
                if let Some(sent) = catch_up.hold(id, event, &mut self.out) {
                    self.phase = Phase::Live(sent);
                }
            }
            Phase::Resync(resync) => resync.held.push(id, event),
            Phase::Untouched => {}
        }
    }

    /// Passes on a part of an event that is too large for the log as well.
    fn pass_on_fragment(&mut self, fragment: &[u8]) {
        match &mut self.phase {
            Phase::Live(_) | Phase::Untouched => self.out.extend_from_slice(fragment),
            // Nothing may be sent between the parts.
            Phase::CatchUp(_) | Phase::Resync(_) => self.end = Some(StreamEnd::TooFarApart.into()),
        }
    }

    fn leave_untouched(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Untouched) {
            Phase::CatchUp(catch_up) => catch_up.into_held().write(&mut self.out),
            Phase::Resync(mut resync) => resync.held.write(&mut self.out),
            Phase::Live(_) | Phase::Untouched => {}
        }
    }
}

impl Phase {
    fn resync(held: Held, settings: &Settings) -> Self {
        let silence = Box::pin(sleep(settings.max_lag));
        Self::Resync(Box::new(Resync { events: None, silence, held }))
    }
}

/// Whether a text can be sent as an id.
fn is_id(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

impl HttpBody for ReplayBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if !self.out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(self.out.split().freeze()))));
            }
            if let Some(error) = self.end.take() {
                self.session = Body::empty();
                return Poll::Ready(Some(Err(error)));
            }
            if self.is_over {
                return Poll::Ready(None);
            }
            ready!(self.poll_step(context));
        }
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;

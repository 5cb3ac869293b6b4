//! Ends an event stream when the router shuts down, between two events.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use proxy_core::{Body, BodyError};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// What a blank line looks like, and with it the end of an event: lines end with LF, CR or CRLF.
const BLANK_LINES: [&[u8]; 4] = [b"\n\n", b"\r\r", b"\n\r\n", b"\r\r\n"];
const LONGEST_BLANK_LINE: usize = 3;

/// The body of an event stream, which ends between two events once `end` has come. It would otherwise last as
/// long as a tab is open, and clients open it again.
pub(crate) struct EndingEvents {
    body: Body,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    phase: Phase,
    /// Whether the stream is broken off at its end. opencode's page remembers its last event only then.
    is_broken_off: bool,
    /// The last bytes that were sent; `None` if the content is encoded, so that its events cannot be seen.
    tail: Option<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// It ends behind the event that is under way.
    Ending,
    Ended,
}

impl EndingEvents {
    /// Wraps the body of a response with these headers.
    pub(crate) fn new(body: Body, headers: &HeaderMap, end: CancellationToken, is_broken_off: bool) -> Self {
        let tail = (!headers.contains_key(header::CONTENT_ENCODING)).then(Vec::new);
        Self { body, end: Box::pin(end.cancelled_owned()), phase: Phase::Open, is_broken_off, tail }
    }

    /// Whether an event is under way.
    fn is_inside_event(&self) -> bool {
        self.tail.as_ref().is_some_and(|tail| !tail.is_empty() && !ends_with_blank_line(tail))
    }

    /// Notes that these bytes are sent. If the stream is ending, returns how many of them belong to the event
    /// that is under way, and are sent; `None` means all of them.
    fn advance(&mut self, bytes: &[u8]) -> Option<usize> {
        let tail = self.tail.as_mut()?;
        let before = tail.len();
        let mut length = None;
        if self.phase == Phase::Ending {
            tail.extend_from_slice(bytes);
            let end = (before + 1..=tail.len()).find(|&end| ends_with_blank_line(&tail[..end]));
            tail.truncate(end.unwrap_or(tail.len()));
            length = end.map(|end| end - before);
        } else {
            tail.extend_from_slice(&bytes[bytes.len().saturating_sub(LONGEST_BLANK_LINE)..]);
        }
        tail.drain(..tail.len().saturating_sub(LONGEST_BLANK_LINE));
        length
    }
}

fn ends_with_blank_line(bytes: &[u8]) -> bool {
    BLANK_LINES.iter().any(|blank_line| bytes.ends_with(blank_line))
}

impl HttpBody for EndingEvents {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.phase == Phase::Open && this.end.as_mut().poll(context).is_ready() {
            this.phase = Phase::Ending;
        }
        if this.phase == Phase::Ending && !this.is_inside_event() {
            this.phase = Phase::Ended;
            this.body = Body::empty();
            if this.is_broken_off {
                return Poll::Ready(Some(Err("the router shuts down".into())));
            }
        }
        let frame = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            end => return Poll::Ready(end),
        };
        let frame = frame.map_data(|mut data| {
            if let Some(length) = this.advance(&data) {
                data.truncate(length);
            }
            data
        });
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.phase {
            Phase::Open => SizeHint::default(),
            Phase::Ending | Phase::Ended => self.body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::stream;
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::sync::mpsc;

    use super::*;

    /// Sends the pieces before and after `end` comes; returns what is received, and whether it is broken off.
    fn received(before: &[&str], after: &[&str], headers: &HeaderMap, is_broken_off: bool) -> (String, bool) {
        let end = CancellationToken::new();
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let frames = stream::poll_fn(move |context| receiver.poll_recv(context));
        let body = Body::new(StreamBody::new(frames));
        let mut events = EndingEvents::new(body, headers, end.clone(), is_broken_off);
        let mut text = String::new();
        let mut read = |events: &mut EndingEvents| loop {
            match events.frame().now_or_never() {
                Some(Some(Ok(frame))) => {
                    text.push_str(std::str::from_utf8(frame.data_ref().expect("data")).expect("text"));
                }
                Some(Some(Err(_))) => return Some(true),
                Some(None) => return Some(false),
                None => return None,
            }
        };
        let send = |pieces: &[&str]| {
            for piece in pieces {
                let data = Bytes::copy_from_slice(piece.as_bytes());
                sender.send(Ok::<_, BodyError>(Frame::data(data))).expect("a stream");
            }
        };
        send(before);
        assert_eq!(read(&mut events), None, "{before:?}");
        end.cancel();
        let ended = read(&mut events);
        if ended.is_none() {
            send(after);
        }
        let ended = ended.or_else(|| read(&mut events)).expect("an end");
        (text, ended)
    }

    #[test]
    fn a_stream_ends_between_two_events() {
        let none = HeaderMap::new();
        for (before, after, expected) in [
            (&[][..], &["data: 1\n\n"][..], ""),
            (&["data: 1\n\n"], &["data: 2\n\n"], "data: 1\n\n"),
            (&["data: 1\n\n", "data"], &[": 2\n", "\ndata: 3\n\n"], "data: 1\n\ndata: 2\n\n"),
            (&["data: 1\r\n\r"], &["\ndata: 2\r\n\r\n"], "data: 1\r\n\r\n"),
            (&["data: 1\r"], &["\rdata: 2\r\r"], "data: 1\r\r"),
            (&["data: 1\n"], &["data: 2\n\ndata: 3\n\n"], "data: 1\ndata: 2\n\n"),
            (&[": beat\n\n", "id: 1\n"], &["\n"], ": beat\n\nid: 1\n\n"),
        ] {
            assert_eq!(received(before, after, &none, false), (expected.to_owned(), false), "{before:?}");
            assert_eq!(received(before, after, &none, true), (expected.to_owned(), true), "{before:?}");
        }
    }

    #[test]
    fn an_encoded_stream_ends_at_once() {
        let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, "br".parse().expect("a value"))]);
        assert_eq!(received(&["data"], &[], &headers, false), ("data".to_owned(), false));
    }
}

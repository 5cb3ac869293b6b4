//! Splits the bytes of an event stream into events, with a bound on what is held.
//!
//! The format: <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>.
//! Lines end with a line feed, a carriage return or both; an empty line ends an event; a line that starts
//! with a colon is a comment. Bytes arrive in chunks that may end anywhere.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

/// A part of an event stream. All parts in order are the stream, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A whole event, with the empty line at its end.
    Event(Bytes),
    /// Whole lines outside of an event: comments and empty lines.
    Lines(Bytes),
    /// A part of an event that is larger than the parser may hold.
    Fragment(Bytes),
}

/// Holds the event that is not complete yet.
#[derive(Debug)]
pub(super) struct Parser {
    held: BytesMut,
    /// Where the current line starts in `held`. Everything before it belongs to the same event.
    line: usize,
    /// How far `held` was searched for the end of the current line.
    searched: usize,
    max_event: usize,
    /// Whether the current event is too large and is passed on in fragments.
    is_oversized: bool,
    /// Whether the current line has a part that was passed on already.
    is_line_started: bool,
    /// Whether the last line ended with a carriage return, to which a line feed may still belong.
    after_return: bool,
}

impl Parser {
    /// Makes a parser that holds `max_event` bytes and one chunk at most.
    pub(super) fn new(max_event: usize) -> Self {
        Self {
            held: BytesMut::new(),
            line: 0,
            searched: 0,
            max_event,
            is_oversized: false,
            is_line_started: false,
            after_return: false,
        }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.held.extend_from_slice(chunk);
    }

    /// Returns the next part, or `None` until more bytes are pushed.
    pub(super) fn next(&mut self) -> Option<Piece> {
        loop {
            if self.after_return && self.line < self.held.len() {
                self.after_return = false;
                if self.held[self.line] == b'\n' {
                    if self.line == 0 {
                        let feed = self.take(1);
                        return Some(if self.is_oversized {
                            Piece::Fragment(feed)
                        } else {
                            Piece::Lines(feed)
                        });
                    }
                    self.line += 1;
                    self.searched = self.line;
                }
            }
            let unsearched = &self.held[self.searched..];
            let Some(at) = unsearched.iter().position(|&byte| matches!(byte, b'\n' | b'\r')) else {
                self.searched = self.held.len();
                return self.fragment();
            };
            let (start, end) = (self.line, self.searched + at);
            let is_return = self.held[end] == b'\r';
            let has_feed = is_return && self.held.get(end + 1) == Some(&b'\n');
            let next = end + if has_feed { 2 } else { 1 };
            self.after_return = is_return && next == self.held.len();
            let is_empty = start == end && !self.is_line_started;
            self.is_line_started = false;
            if is_empty && self.is_oversized {
                self.is_oversized = false;
                return Some(Piece::Fragment(self.take(next)));
            }
            if is_empty && start > 0 {
                return Some(Piece::Event(self.take(next)));
            }
            if !self.is_oversized && start == 0 && (is_empty || self.held[0] == b':') {
                return Some(Piece::Lines(self.take(next)));
            }
            (self.line, self.searched) = (next, next);
        }
    }

    /// Passes on what is held of an event that is too large.
    fn fragment(&mut self) -> Option<Piece> {
        if self.held.is_empty() || !(self.is_oversized || self.held.len() > self.max_event) {
            return None;
        }
        self.is_oversized = true;
        self.is_line_started |= self.line < self.held.len();
        let all = self.held.len();
        Some(Piece::Fragment(self.take(all)))
    }

    /// Returns what is held of an incomplete event.
    pub(super) fn take_rest(&mut self) -> Bytes {
        let all = self.held.len();
        self.take(all)
    }

    fn take(&mut self, bytes: usize) -> Bytes {
        (self.line, self.searched) = (0, 0);
        self.held.split_to(bytes).freeze()
    }
}

/// Returns the data of a whole event, or `None` if it has none. The parts of several lines are joined by line
/// feeds.
pub(super) fn data(event: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut values = fields(event).filter(|(name, _)| *name == b"data").map(|(_, value)| value);
    let first = values.next()?;
    let Some(second) = values.next() else { return Some(Cow::Borrowed(first)) };
    let mut all = [first, second].join(&b'\n');
    for value in values {
        all.push(b'\n');
        all.extend_from_slice(value);
    }
    Some(Cow::Owned(all))
}

/// Returns whether a whole event sets the stream's last event id.
pub(super) fn has_id(event: &[u8]) -> bool {
    fields(event).any(|(name, _)| name == b"id")
}

/// Returns the names and values of an event's lines.
fn fields(event: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    event.split(|&byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.is_empty()).map(|line| {
        let colon = line.iter().position(|&byte| byte == b':');
        let (name, value) = colon.map_or((line, &b""[..]), |at| (&line[..at], &line[at + 1..]));
        (name, value.strip_prefix(b" ").unwrap_or(value))
    })
}

/// Appends an event to `out`.
pub(super) fn write(out: &mut BytesMut, id: Option<&str>, data: &[u8]) {
    if let Some(id) = id {
        write_id(out, id);
    }
    for line in data.split(|&byte| matches!(byte, b'\n' | b'\r')) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.extend_from_slice(b"\n");
    }
    out.extend_from_slice(b"\n");
}

/// Appends the line that gives an id to the event that follows.
pub(super) fn write_id(out: &mut BytesMut, id: &str) {
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b"\n");
}

#[cfg(test)]
#[path = "parser_tests.rs"]
mod tests;

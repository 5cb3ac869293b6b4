//! Parses server-sent events (WHATWG HTML §9.2.6) from bytes in chunks of any size.

use thiserror::Error;

use super::http::MAX_BYTES;

/// One event. Its id and retry time are ignored: see `server::sse`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SseEvent {
    /// `message` if the event has no name.
    pub(super) name: String,
    pub(super) data: String,
}

/// The parser's state between two chunks.
#[derive(Debug, Default)]
pub(super) struct SseReader {
    line: Vec<u8>,
    after_cr: bool,
    name: String,
    data: String,
    any_data: bool,
}

/// An event is longer than [`MAX_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("its event is longer than any of a router")]
pub(super) struct TooLong;

impl SseReader {
    /// Parses a chunk and returns the events that it completes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, TooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => events.extend(self.end_of_line()),
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.len() > MAX_BYTES {
                return Err(TooLong);
            }
        }
        Ok(events)
    }

    fn end_of_line(&mut self) -> Option<SseEvent> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if line.is_empty() {
            let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
            let name = if name.is_empty() { "message".to_owned() } else { name };
            return std::mem::take(&mut self.any_data).then_some(SseEvent { name, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if std::mem::replace(&mut self.any_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // A comment (the heartbeat), or a field that is ignored.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{SseEvent, SseReader};

    fn check(text: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, data)| SseEvent { name: (*name).into(), data: (*data).into() })
            .collect();
        // Split in two at every position, then byte by byte.
        for split in 0..=text.len() {
            let mut reader = SseReader::default();
            let (left, right) = text.as_bytes().split_at(split);
            let got: Vec<_> =
                [left, right].iter().flat_map(|part| reader.feed(part).expect("short")).collect();
            assert_eq!(got, expected, "{text:?} split at {split}");
        }
        let mut reader = SseReader::default();
        let got: Vec<_> = text.bytes().flat_map(|byte| reader.feed(&[byte]).expect("short")).collect();
        assert_eq!(got, expected, "{text:?} byte by byte");
    }

    #[test]
    fn events_are_parsed_however_the_bytes_are_split() {
        check("event: sessions\ndata: {\"ä\":1}\n\n", &[("sessions", "{\"ä\":1}")]);
        check("data: a\ndata: b\n\ndata:c\n\n", &[("message", "a\nb"), ("message", "c")]);
        check("event: x\r\ndata: 1\r\n\r\nevent: y\rdata: 2\r\r", &[("x", "1"), ("y", "2")]);
    }

    #[test]
    fn heartbeats_unknown_fields_and_unfinished_events_are_not_events() {
        check(":\n\n: beat\n\nid: 7\nretry: 10\n\n", &[]);
        check("data: unfinished\n", &[]);
        check("event: nothing\n\ndata\n\n", &[("message", "")]);
    }
}

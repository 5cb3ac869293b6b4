//! Responses, and what is done to them.

use proptest::prelude::*;

/// Lines that may change what a response means.
pub(super) const LINES: &[&str] = &[
    "content-length: 3\r\n",
    "Content-Length: 3, 3\r\n",
    "content-length: 0\r\n",
    "content-length: +3\r\n",
    "content-length: \r\n",
    "content-length : 3\r\n",
    "content-length: 18446744073709551616\r\n",
    "transfer-encoding: chunked\r\n",
    "transfer-encoding: Chunked\r\n",
    "transfer-encoding: gzip\r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "transfer-encoding: chunked, chunked\r\n",
    "transfer-encoding: chunked, identity\r\n",
    "transfer-encoding:\x0bchunked\r\n",
    "transfer-encoding: xchunked\r\n",
    "transfer-encoding:\r\n",
    "connection: keep-alive\r\n",
    "connection: close\r\n",
    " folded\r\n",
    "\tfolded: 1\r\n",
    "x: a\nb: c\r\n",
    "x: a\rb: c\r\n",
    ": x\r\n",
    "\r\n",
    "\n",
    "\r",
    "0\r\n",
    "0\r\n\r\n",
    "3\r\nabc\r\n",
    "3\nabc\n",
    "0x3\r\nabc\r\n",
    "ffffffffffffffff\r\n",
    "10000000000000003\r\nabc\r\n",
    "000000000000000000003\r\nabc\r\n",
    "3;a=\"\n\"\r\nabc\r\n",
    "3 \t\r\nabc\r\n",
    "3 3\r\nabc\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 199 \r\ncontent-length: 3\r\n\r\n",
];

/// Responses that every line is inserted into, and every byte of which is changed.
pub(super) const RESPONSES: [&str; 4] = [
    "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\na: 1\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
];

/// Returns where lines start, and the end.
pub(super) fn line_starts(text: &[u8]) -> Vec<usize> {
    let ends = text.windows(2).enumerate().filter(|(_, end)| end == b"\r\n");
    let mut starts: Vec<_> = ends.map(|(at, _)| at + 2).collect();
    starts.extend((!starts.contains(&text.len())).then_some(text.len()));
    starts
}

/// A response that is well-formed, or almost.
pub(super) fn response() -> impl Strategy<Value = Vec<u8>> {
    let interim = prop_oneof![
        6 => Just(""),
        1 => Just("HTTP/1.1 100 Continue\r\n\r\n"),
        1 => Just("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
    ];
    let status = prop_oneof![
        6 => Just("200 OK"),
        1 => Just("204 No Content"),
        1 => Just("304 Not Modified"),
        1 => Just("101 Switching Protocols"),
        1 => Just("500"),
    ];
    let version = prop_oneof![4 => Just("1.1"), 1 => Just("1.0")];
    let connection = prop_oneof![
        4 => Just(""),
        1 => Just("Connection: close\r\n"),
        1 => Just("connection: keep-alive\r\n"),
        1 => Just("connection: x, Keep-Alive\r\nconnection: close\r\n"),
        1 => Just("x-a: 1\r\nX-A: \t2 \r\nx-empty:\r\n"),
    ];
    let chunk = (
        "[ -~]{1,9}(\r\n)?[ -~]{0,9}",
        prop_oneof![3 => Just(""), 1 => Just(";a=\"b\""), 1 => Just(" ; x ")],
    )
        .prop_map(|(data, extension)| format!("{:x}{extension}\r\n{data}\r\n", data.len()));
    let trailers = prop_oneof![2 => Just(""), 1 => Just("x-sum: 1\r\n"), 1 => Just("a: 1\r\nb: 2\r\n")];
    let framed = prop_oneof![
        "[ -~]{0,9}(\r\n)?[ -~]{0,9}"
            .prop_map(|body| format!("Content-Length: {}\r\n\r\n{body}", body.len())),
        (prop::collection::vec(chunk, 0..4), trailers).prop_map(|(chunks, trailers)| {
            format!("Transfer-Encoding: chunked\r\n\r\n{}0\r\n{trailers}\r\n", chunks.concat())
        }),
        "[ -~]{0,9}(\r\n)?[ -~]{0,9}".prop_map(|body| format!("\r\n{body}")),
    ];
    (interim, version, status, connection, framed).prop_map(
        |(interim, version, status, connection, framed)| {
            format!("{interim}HTTP/{version} {status}\r\n{connection}{framed}").into_bytes()
        },
    )
}

/// What is done to a response.
#[derive(Debug, Clone)]
pub(super) enum Mutation {
    Insert(prop::sample::Index, Vec<u8>),
    /// After the start of a line, where most of it has a meaning.
    InsertLine(prop::sample::Index, &'static str),
    Replace(prop::sample::Index, u8),
    Delete(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
}

impl Mutation {
    pub(super) fn apply(&self, text: &mut Vec<u8>) {
        match self {
            Self::Insert(at, bytes) => {
                let at = at.index(text.len() + 1);
                drop(text.splice(at..at, bytes.iter().copied()));
            }
            Self::InsertLine(at, line) => {
                let starts = line_starts(text);
                let at = starts[at.index(starts.len())];
                drop(text.splice(at..at, line.bytes()));
            }
            Self::Replace(at, byte) => {
                let at = at.index(text.len().max(1));
                text.iter_mut().skip(at).take(1).for_each(|old| *old = *byte);
            }
            Self::Delete(at, length) => {
                let at = at.index(text.len() + 1);
                drop(text.drain(at..text.len().min(at + length)));
            }
            Self::Repeat(at, length) => {
                let at = at.index(text.len() + 1);
                let bytes = text[at..text.len().min(at + length)].to_vec();
                drop(text.splice(at..at, bytes));
            }
        }
    }
}

pub(super) fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    let byte = prop_oneof![
        3 => prop::sample::select(&b"\0\r\n\t :;,0159aAfF\x0b\x0c\x7f\x80"[..]),
        1 => any::<u8>(),
    ];
    let line = prop::sample::select(LINES);
    prop_oneof![
        (index(), prop::collection::vec(byte.clone(), 1..4))
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (index(), line).prop_map(|(at, line)| Mutation::InsertLine(at, line)),
        (index(), byte).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        (index(), 1..20_usize).prop_map(|(at, length)| Mutation::Delete(at, length)),
        (index(), 1..40_usize).prop_map(|(at, length)| Mutation::Repeat(at, length)),
    ]
}

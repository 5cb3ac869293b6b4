use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, prelude::*};

use super::{Parser, Piece, data, has_id, write};

const MAX: usize = 64;

/// Parses the chunks of a stream.
fn parse<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Piece> {
    let mut parser = Parser::new(MAX);
    let mut pieces = Vec::new();
    for chunk in chunks {
        parser.push(chunk);
        while let Some(piece) = parser.next() {
            pieces.push(piece);
        }
    }
    pieces
}

fn bytes(piece: &Piece) -> &Bytes {
    match piece {
        Piece::Event(bytes) | Piece::Lines(bytes) | Piece::Fragment(bytes) => bytes,
    }
}

fn event(text: &'static str) -> Piece {
    Piece::Event(Bytes::from_static(text.as_bytes()))
}

fn lines(text: &'static str) -> Piece {
    Piece::Lines(Bytes::from_static(text.as_bytes()))
}

fn check(stream: &str, expected: &[Piece]) {
    assert_eq!(parse([stream.as_bytes()]), expected, "{stream:?}");
}

#[test]
fn events_end_with_an_empty_line_of_any_kind() {
    check("data: 1\n\ndata: 2\n\n", &[event("data: 1\n\n"), event("data: 2\n\n")]);
    check("data: 1\r\n\r\ndata: 2\r\n\r\n", &[event("data: 1\r\n\r\n"), event("data: 2\r\n\r\n")]);
    check("data: 1\r\rdata: 2\r\r", &[event("data: 1\r\r"), event("data: 2\r\r")]);
    check("data: 1\n\ndata: 2", &[event("data: 1\n\n")]);
}

#[test]
fn a_comment_is_passed_on_before_its_empty_line() {
    check(":\n", &[lines(":\n")]);
    check(": alive\n\n", &[lines(": alive\n"), lines("\n")]);
    check("data: 1\n: within\ndata: 2\n\n", &[event("data: 1\n: within\ndata: 2\n\n")]);
}

#[test]
fn an_event_whose_last_line_feed_is_late_is_passed_on_without_it() {
    let pieces = parse([&b"data: 1\r\n\r"[..], b"\ndata: 2\n\n"]);
    assert_eq!(pieces, [event("data: 1\r\n\r"), lines("\n"), event("data: 2\n\n")]);
    let pieces = parse([&b"data: 1\r"[..], b"\ndata: 2\r", b"\r"]);
    assert_eq!(pieces, [event("data: 1\r\ndata: 2\r\r")]);
}

#[test]
fn an_endless_line_is_passed_on_and_the_next_event_recognised() {
    let endless = "x".repeat(MAX);
    let pieces =
        parse([&b"data: 1\n\ndata: "[..], endless.as_bytes(), endless.as_bytes(), b"\n\ndata: 2\n\n"]);
    assert_eq!(pieces.first(), Some(&event("data: 1\n\n")));
    assert_eq!(pieces.last(), Some(&event("data: 2\n\n")));
    let between = &pieces[1..pieces.len() - 1];
    assert!(between.iter().all(|piece| matches!(piece, Piece::Fragment(_))), "{pieces:?}");
}

#[test]
fn data_is_joined_and_ids_are_seen() {
    let data = |event| data(event).map(|data| String::from_utf8(data.into_owned()).unwrap());
    assert_eq!(data(b"event: x\ndata: {1}\n\n").as_deref(), Some("{1}"));
    assert_eq!(data(b"data:a\r\ndata\r\ndata:  b\r\n\r\n").as_deref(), Some("a\n\n b"));
    assert_eq!(data(b"event: x\n\n"), None);
    assert!(has_id(b"data: 1\nid: 7\n\n"));
    assert!(has_id(b"id\n\n"));
    assert!(!has_id(b"data: 1\n: id: 7\n\n"));
}

/// Text in which line ends, colons and comments are frequent.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b":".to_vec()),
        Just(b"data: ".to_vec()),
        Just(b"id: ".to_vec()),
        vec(any::<u8>(), 0..100),
    ];
    vec(part, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_byte_is_lost_added_or_held_beyond_the_limit(stream in stream(), sizes in vec(1..20usize, 1..200)) {
        let mut parser = Parser::new(MAX);
        let (mut passed, mut rest) = (Vec::new(), stream.as_slice());
        for size in sizes.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            parser.push(chunk);
            while let Some(piece) = parser.next() {
                passed.extend_from_slice(bytes(&piece));
            }
            prop_assert!(parser.held.len() <= MAX);
        }
        passed.extend_from_slice(&parser.take_rest());
        prop_assert_eq!(passed, stream);
    }

    #[test]
    fn events_are_the_same_however_the_stream_is_cut(
        events in vec(("[a-z]{0,20}", prop_oneof![Just("\n"), Just("\r\n"), Just("\r")]), 0..10),
        sizes in vec(1..9usize, 1..60),
    ) {
        let stream: String =
            events.iter().map(|(data, end)| format!("data: {data}{end}{end}")).collect();
        let mut chunks = Vec::new();
        let mut rest = stream.as_bytes();
        for size in sizes.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at(size.min(rest.len()));
            chunks.push(chunk);
            rest = after;
        }
        let parsed: Vec<_> = parse(chunks)
            .iter()
            .filter_map(|piece| match piece {
                Piece::Event(event) => Some(String::from_utf8(data(event)?.into_owned()).unwrap()),
                _ => None,
            })
            .collect();
        let expected: Vec<_> = events.into_iter().map(|(data, _)| data).collect();
        prop_assert_eq!(parsed, expected);
    }

    #[test]
    fn a_written_event_is_one_event(text in ".{0,40}") {
        let mut out = BytesMut::new();
        write(&mut out, None, text.as_bytes());
        let mut parser = Parser::new(1024);
        parser.push(&out);
        prop_assert!(matches!(parser.next(), Some(Piece::Event(event)) if event == out));
        prop_assert_eq!(parser.next(), None);
    }
}

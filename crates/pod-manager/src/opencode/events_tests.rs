//! A hostile or broken event stream does no harm to the router that follows it.

use super::*;
use crate::opencode::{
    OpencodeClient,
    test_server::{Response, TestServer},
};

const HEAD: &str = "content-type: text/event-stream\r\n";

fn event(id: &str, kind: &str) -> String {
    format!(r#"{{"directory":"/repo","payload":{{"id":"{id}","type":"{kind}","properties":{{}}}}}}"#)
}

/// Parses bytes that come in chunks of this size.
fn parsed(bytes: &str, chunk_size: usize) -> Vec<Received> {
    let mut parser = Parser::default();
    let mut received = Vec::new();
    for chunk in bytes.as_bytes().chunks(chunk_size) {
        let mut chunk = Bytes::copy_from_slice(chunk);
        while !chunk.is_empty() {
            received.extend(parser.push(&mut chunk));
        }
    }
    received
}

#[track_caller]
fn check(bytes: &str, expected: &[&str]) {
    for chunk_size in [1, 2, 7, 4096] {
        let data: Vec<_> = parsed(bytes, chunk_size)
            .into_iter()
            .map(|received| match received {
                Received::Event(event) => String::from_utf8_lossy(&event.data).into_owned(),
                Received::Oversized => "oversized".into(),
            })
            .collect();
        assert_eq!(data, expected, "{bytes:?} in chunks of {chunk_size}");
    }
}

#[test]
fn events_are_what_lies_between_empty_lines() {
    check("data: a\n\n", &["a"]);
    check("data:a\n\ndata:  b\n\n", &["a", " b"]);
    check("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]);
    check("data: a\ndata: b\ndata:\ndata: c\n\n", &["a\nb\n\nc"]);
    check(": heartbeat\n\nevent: x\nid: 1\nretry: 5\ndata: a\n\n", &["a"]);
    check("\n\n\ndata: a\n\n\n\n", &["a"]);
    check("data: cut off", &[]);
    check("data: a\n", &[]);
    check("database: a\ndata\n\n", &[]);
}

#[test]
fn a_large_event_is_skipped_and_the_next_one_is_read() {
    let large = "x".repeat(MAX_EVENT + 1);
    check(&format!("data: {large}\n\ndata: a\n\n"), &["oversized", "a"]);
    check(&format!("data: a\r\n\r\ndata: {large}\r\n\r\ndata: b\r\n\r\n"), &["a", "oversized", "b"]);
    let lines = format!("data: {}\n", "x".repeat(1000)).repeat(MAX_EVENT / 1000 + 1);
    check(&format!("{lines}\ndata: a\n\n"), &["oversized", "a"]);
}

#[test]
fn id_and_type_are_read() {
    let received = parsed(&format!("data: {}\n\n", event("evt_1", "session.idle")), 4096);
    let [Received::Event(event)] = received.as_slice() else { panic!("{received:?}") };
    assert_eq!((event.id.as_deref(), &*event.kind), (Some("evt_1"), "session.idle"));
}

#[tokio::test]
async fn an_endless_line_costs_a_bounded_amount_of_memory() {
    let mut parser = Parser::default();
    for _ in 0..64 {
        let mut chunk = Bytes::from(vec![b'x'; 64 * 1024]);
        assert_eq!(parser.push(&mut chunk), None);
        assert!(parser.line.capacity() <= 2 * MAX_EVENT, "{}", parser.line.capacity());
    }
}

#[tokio::test]
async fn a_stream_faster_than_the_limit_is_read_with_pauses() {
    let line = format!("data: {}\n\n", event("evt_1", "session.idle"));
    let server = TestServer::start(Response::endless(HEAD, line.repeat(100))).await;
    let mut stream = OpencodeClient::new().events(&server.endpoint()).await.expect("a stream");
    let begun = Instant::now();
    for _ in 0..=2 * MAX_EVENTS_PER_WINDOW {
        assert!(matches!(stream.next().await, Ok(Received::Event(_))));
    }
    assert!(begun.elapsed() >= WINDOW, "two seconds' events came in {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_stream_that_ends_is_an_error() {
    let body = format!("data: {}\n\n", event("evt_1", "session.idle"));
    let server = TestServer::start(Response::ok("text/event-stream; charset=utf-8", &body)).await;
    let mut stream = OpencodeClient::new().events(&server.endpoint()).await.expect("a stream");
    assert!(matches!(stream.next().await, Ok(Received::Event(_))));
    assert!(matches!(stream.next().await, Err(OpencodeError::Unreachable(_))));
}

#[tokio::test]
async fn an_answer_that_is_no_event_stream_is_an_error() {
    for response in [Response::ok("text/html", "<!doctype html>"), Response::ok("application/json", "{}")] {
        let server = TestServer::start(response).await;
        let stream = OpencodeClient::new().events(&server.endpoint()).await;
        assert!(matches!(stream.map(drop), Err(OpencodeError::Unexpected(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_given_up() {
    // Bytes that never end a line are silence as well.
    for repeat in ["", "x"] {
        let mut response = Response::endless(HEAD, repeat);
        (response.hang, response.pause) = (repeat.is_empty(), Duration::from_secs(5));
        let server = TestServer::start(response).await;
        let mut stream = OpencodeClient::new().events(&server.endpoint()).await.expect("a stream");
        let begun = Instant::now();
        assert!(matches!(stream.next().await, Err(OpencodeError::Timeout)));
        assert!((SILENCE..2 * SILENCE).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_a_stream() {
    let heartbeat = format!("data: {}\n\n", event("evt_1", "server.heartbeat"));
    let mut response = Response::endless(HEAD, heartbeat);
    response.pause = Duration::from_secs(10);
    let server = TestServer::start(response).await;
    let mut stream = OpencodeClient::new().events(&server.endpoint()).await.expect("a stream");
    for _ in 0..20 {
        assert!(matches!(stream.next().await, Ok(Received::Event(_))));
    }
}

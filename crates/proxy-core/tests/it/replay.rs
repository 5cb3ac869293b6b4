//! A client of an event stream that reconnects gets what it missed, and nobody else does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use parking_lot::Mutex;
use proxy_core::*;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

use crate::test_proxy::*;

const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The log of `/events`. The data of an event with the id 1 is `event 1`.
#[derive(Clone, Default)]
struct TestLogs {
    events: Arc<Mutex<Vec<LoggedEvent>>>,
    added: watch::Sender<()>,
    found: Arc<AtomicUsize>,
}

impl TestLogs {
    fn add(&self, number: usize) {
        self.events.lock().push(LoggedEvent::new(number.to_string(), format!("event {number}")));
        self.added.send_replace(());
    }
}

impl EventLogs for TestLogs {
    fn find(&self, request: &RequestHead<'_>) -> Option<Arc<dyn EventLog>> {
        self.found.fetch_add(1, Ordering::Relaxed);
        (request.uri.path() == "/events").then(|| Arc::new(self.clone()) as Arc<dyn EventLog>)
    }
}

impl EventLog for TestLogs {
    fn id_of(&self, data: &[u8]) -> Option<String> {
        Some(str::from_utf8(data).ok()?.strip_prefix("event ")?.to_owned())
    }

    fn after(&self, id: &str) -> BoxStream<'static, LoggedEvent> {
        let Some(last) = self.events.lock().iter().position(|event| event.id == id) else {
            return stream::empty().boxed();
        };
        let events = (self.events.clone(), self.added.subscribe(), last + 1);
        stream::unfold(events, |(events, mut added, next)| async move {
            loop {
                let event = events.lock().get(next).cloned();
                if let Some(event) = event {
                    return Some((event, (events, added, next + 1)));
                }
                added.changed().await.ok()?;
            }
        })
        .boxed()
    }

    fn resync(&self, _: &str) -> BoxStream<'static, Bytes> {
        stream::iter([Bytes::from_static(b"the state")]).boxed()
    }
}

fn events(last: Option<&str>) -> Request<Empty<Bytes>> {
    let request = request("GET", "/events");
    let request = match last {
        Some(id) => request.header("last-event-id", id),
        None => request,
    };
    request.body(Empty::new()).unwrap()
}

/// The session's side of an event stream.
struct Session(TcpStream);

impl Session {
    async fn accept(listener: &TcpListener) -> Self {
        let (mut stream, _) = accept_request(listener).await;
        stream.write_all(STREAM.as_bytes()).await.unwrap();
        Self(stream)
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await.unwrap();
    }

    async fn send_event(&mut self, number: usize) {
        self.send(&format!("data: event {number}\n\n")).await;
    }
}

/// Reads until the text is received.
async fn expect(body: &mut Incoming, text: &str) {
    let mut received = String::new();
    while received.len() < text.len() {
        let frame = within(text, body.frame()).await.unwrap().unwrap();
        received += str::from_utf8(&frame.into_data().unwrap()).unwrap();
    }
    assert_eq!(received, text);
}

fn event(number: usize) -> String {
    format!("id: {number}\ndata: event {number}\n\n")
}

#[tokio::test]
async fn a_client_that_reconnects_gets_what_it_missed() {
    let logs = TestLogs::default();
    let (proxy, listener) = TestProxy::with_logs(Arc::new(logs.clone())).await;
    let response = proxy.spawn_send(events(None));
    let mut session = Session::accept(&listener).await;
    let mut body = response.await.unwrap().into_body();
    logs.add(1);
    session.send_event(1).await;
    expect(&mut body, &event(1)).await;
    drop(body);

    (2..=4).for_each(|number| logs.add(number));
    let response = proxy.spawn_send(events(Some("1")));
    let mut session = Session::accept(&listener).await;
    let mut body = response.await.unwrap().into_body();
    expect(&mut body, &[2, 3, 4].map(event).concat()).await;
    // The session's stream began before the third event.
    for number in 3..=5 {
        logs.add(number.max(5));
        session.send_event(number).await;
    }
    expect(&mut body, &event(5)).await;
}

#[tokio::test]
async fn a_client_whose_last_event_is_unknown_or_invalid_gets_the_state() {
    let long = "1".repeat(5000);
    for last in ["7", "\u{e9}", "", &long] {
        let (proxy, listener) = TestProxy::with_logs(Arc::new(TestLogs::default())).await;
        let response = proxy.spawn_send(events(Some(last)));
        let mut session = Session::accept(&listener).await;
        session.send("data: hello\n\n").await;
        let mut body = response.await.unwrap().into_body();
        expect(&mut body, "data: hello\n\ndata: the state\n\n").await;
    }
}

#[tokio::test]
async fn another_users_events_are_not_even_looked_for() {
    let logs = TestLogs::default();
    let (proxy, _listener) = TestProxy::with_logs(Arc::new(logs.clone())).await;
    let mut request = events(Some("1"));
    request.headers_mut().insert("x-auth-request-email", "bob@example.com".parse().unwrap());
    assert_eq!(proxy.send(request).await.status(), 404);
    assert_eq!(logs.found.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_stream_that_the_session_ends_is_broken_off_for_the_client() {
    let (proxy, listener) = TestProxy::with_logs(Arc::new(TestLogs::default())).await;
    let response = proxy.spawn_send(events(None));
    let mut session = Session::accept(&listener).await;
    session.send_event(1).await;
    let mut body = response.await.unwrap().into_body();
    expect(&mut body, &event(1)).await;
    session.0.write_all(b"0\r\n\r\n").await.unwrap();
    assert!(within("the stream's end", body.frame()).await.unwrap().is_err());
}

#[tokio::test]
async fn responses_to_which_lines_cannot_be_added_stay_as_they_are() {
    let stream = "data: event 1\n\n";
    for headers in [
        "200 OK\r\nContent-Type: application/json".to_owned(),
        "200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip".to_owned(),
        "500 Internal Server Error\r\nContent-Type: text/event-stream".to_owned(),
    ] {
        let (proxy, listener) = TestProxy::with_logs(Arc::new(TestLogs::default())).await;
        let response = proxy.spawn_send(events(Some("1")));
        let (mut session, _) = accept_request(&listener).await;
        let response_head = format!("HTTP/1.1 {headers}\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("{:x}\r\n{stream}\r\n0\r\n\r\n", stream.len());
        session.write_all((response_head + &chunk).as_bytes()).await.unwrap();
        assert_eq!(text(response.await.unwrap()).await, stream, "{headers}");
    }
    let response =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 15\r\n\r\ndata: event 1\n\n";
    let (proxy, listener) = TestProxy::with_logs(Arc::new(TestLogs::default())).await;
    let received = proxy.spawn_send(events(Some("1")));
    accept_request(&listener).await.0.write_all(response.as_bytes()).await.unwrap();
    assert_eq!(text(received.await.unwrap()).await, stream);
}

#[tokio::test]
async fn a_session_waits_for_a_client_that_does_not_read() {
    let (proxy, listener) = TestProxy::with_logs(Arc::new(TestLogs::default())).await;
    let response = proxy.spawn_send(events(None));
    let mut session = Session::accept(&listener).await;
    let body = response.await.unwrap().into_body();
    // One chunk that never ends, so that any part of the text can be written.
    session.0.write_all(b"ffffffff\r\n").await.unwrap();
    let text = "data: event 12\n".repeat(1024);
    let mut accepted = 0;
    loop {
        match session.0.try_write(text.as_bytes()) {
            Ok(bytes) => accepted += bytes,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                // Whether the session can ever write again is known only by waiting.
                if timeout(Duration::from_millis(300), session.0.writable()).await.is_err() {
                    break;
                }
            }
            Err(error) => panic!("{error}"),
        }
        assert!(accepted < 64 << 20, "the session can send without an end");
    }
    drop(body);
}

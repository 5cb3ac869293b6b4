use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use parking_lot::Mutex;
use proptest::{collection::vec, prelude::*};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{ReplayBody, Settings, Start};
use crate::{
    body::{Body, BodyError},
    replay::log::{EventLog, LoggedEvent},
};

const SETTINGS: Settings = Settings { retry: None, max_event: 1024, max_lag: Duration::from_secs(5) };

/// A log whose events the test sends. The data of an event is `event <number>`, its id the number.
struct TestLog(Mutex<Option<UnboundedReceiver<LoggedEvent>>>);

impl EventLog for TestLog {
    fn id_of(&self, data: &[u8]) -> Option<String> {
        Some(str::from_utf8(data).ok()?.strip_prefix("event ")?.to_owned())
    }

    fn after(&self, _: &str) -> stream::BoxStream<'static, LoggedEvent> {
        let events = self.0.lock().take().expect("one client");
        received(events).boxed()
    }

    fn resync(&self, _: &str) -> stream::BoxStream<'static, Bytes> {
        stream::iter([Bytes::from_static(b"the state")]).boxed()
    }
}

fn received<T>(mut receiver: UnboundedReceiver<T>) -> impl Stream<Item = T> {
    stream::poll_fn(move |context| receiver.poll_recv(context))
}

/// A client that is reconnected to a session.
struct Client {
    /// `None` once the log has ended.
    log: Option<UnboundedSender<LoggedEvent>>,
    session: Option<UnboundedSender<Result<Frame<Bytes>, BodyError>>>,
    body: ReplayBody,
    received: String,
}

impl Client {
    fn new(start: Start) -> Self {
        let (log, events) = unbounded_channel();
        let (session, chunks) = unbounded_channel();
        let body = Body::new(StreamBody::new(received(chunks)));
        let events = Arc::new(TestLog(Mutex::new(Some(events))));
        let body = ReplayBody::new(body, events, start, SETTINGS);
        Self { log: Some(log), session: Some(session), body, received: String::new() }
    }

    fn resuming() -> Self {
        Self::new(Start::After("0".to_owned()))
    }

    fn log_has(&mut self, number: usize) {
        let event = LoggedEvent::new(number.to_string(), format!("event {number}"));
        // Once the session's stream is as far as the log, nobody reads the log.
        let _ = self.log.as_ref().unwrap().send(event);
    }

    fn session_sends(&mut self, text: &str) {
        let chunk = Frame::data(Bytes::copy_from_slice(text.as_bytes()));
        self.session.as_ref().unwrap().send(Ok(chunk)).unwrap();
    }

    /// Reads what is there, and returns how the stream failed, if it did.
    fn read(&mut self) -> Option<String> {
        while let Some(frame) = self.body.frame().now_or_never() {
            match frame {
                Some(Ok(frame)) => self.received += str::from_utf8(frame.data_ref().unwrap()).unwrap(),
                Some(Err(error)) => return Some(error.to_string()),
                None => return Some("no error".to_owned()),
            }
        }
        None
    }

    /// Returns the text that was received since the last call.
    fn take(&mut self) -> String {
        assert_eq!(self.read(), None);
        std::mem::take(&mut self.received)
    }
}

#[tokio::test]
async fn events_get_ids_and_everything_else_stays_as_it_is() {
    let mut client = Client::new(Start::Live);
    client.session_sends(": alive\n\ndata: hello\n\nevent: x\ndata: event 7\n\ndata: eve");
    assert_eq!(client.take(), ": alive\n\ndata: hello\n\nid: 7\nevent: x\ndata: event 7\n\n");
    client.session_sends("nt 8\n");
    assert_eq!(client.take(), "");
    client.session_sends("\n");
    assert_eq!(client.take(), "id: 8\ndata: event 8\n\n");
}

#[tokio::test]
async fn what_is_not_in_the_log_is_not_delayed_while_the_client_catches_up() {
    let mut client = Client::resuming();
    client.session_sends("data: hello\n\ndata: event 1\n\n: alive\n");
    assert_eq!(client.take(), "data: hello\n\n: alive\n", "event 1 waits for the log");
    client.log_has(1);
    assert_eq!(client.take(), "id: 1\ndata: event 1\n\n");
    client.session_sends("data: event 2\n\n");
    client.log_has(2);
    assert_eq!(client.take(), "id: 2\ndata: event 2\n\n");
}

#[tokio::test]
async fn a_log_that_ends_is_followed_by_the_state_and_the_sessions_events() {
    let mut client = Client::resuming();
    client.log_has(1);
    assert_eq!(client.take(), "id: 1\ndata: event 1\n\n");
    client.log = None;
    assert_eq!(client.take(), "", "the session's stream has not begun");
    client.session_sends("data: event 3\n\n");
    client.session_sends("data: event 4\n\n");
    let expected = "data: the state\n\nid: 3\ndata: event 3\n\nid: 4\ndata: event 4\n\n";
    assert_eq!(client.take(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_falls_behind_is_given_up() {
    let mut client = Client::resuming();
    client.session_sends("data: event 1\n\n");
    assert_eq!(client.take(), "");
    tokio::time::advance(SETTINGS.max_lag).await;
    client.session_sends("data: event 2\n\n");
    let received = tokio::time::timeout(Duration::from_secs(60), async {
        let frame = client.body.frame().await.unwrap().unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap() + &client.take()
    });
    let expected = "data: the state\n\nid: 1\ndata: event 1\n\nid: 2\ndata: event 2\n\n";
    assert_eq!(received.await.unwrap(), expected);
}

#[tokio::test]
async fn an_unknown_last_event_gives_the_state() {
    let mut client = Client::new(Start::Resync);
    client.session_sends("data: hello\n\n");
    assert_eq!(client.take(), "data: hello\n\ndata: the state\n\n");
}

#[tokio::test]
async fn a_stream_with_ids_of_its_own_stays_as_it_is() {
    let mut client = Client::new(Start::Live);
    let stream = "data: hello\n\nid: x\ndata: event 1\n\ndata: event 2\n\ndata: ev";
    client.session_sends(stream);
    assert_eq!(client.take(), stream);
    client.session_sends("ent 3\n\n");
    assert_eq!(client.take(), "ent 3\n\n");
    client.session = None;
    assert_eq!(client.read().as_deref(), Some("no error"));
}

#[tokio::test]
async fn a_stream_that_ends_properly_ends_with_an_error() {
    let mut client = Client::new(Start::Live);
    client.session_sends("data: event 1\n\n");
    client.session = None;
    assert_eq!(client.read().as_deref(), Some("the session ended the event stream"));
    assert_eq!(client.received, "id: 1\ndata: event 1\n\n");
}

#[tokio::test]
async fn an_event_that_is_too_large_is_passed_on_without_an_id() {
    let mut client = Client::new(Start::Live);
    let large = format!("data: event {}", "1".repeat(2 * SETTINGS.max_event));
    client.session_sends(&large);
    assert_eq!(client.take(), large);
    client.session_sends("\n\ndata: event 2\n\n");
    assert_eq!(client.take(), "\n\nid: 2\ndata: event 2\n\n");

    let mut client = Client::resuming();
    client.session_sends(&large);
    assert!(client.read().is_some(), "the client reconnects, instead of getting a part of an event");
}

#[tokio::test]
async fn ids_that_would_break_the_stream_are_not_sent() {
    let mut client = Client::new(Start::Live);
    let stream = "data: event 1 2\n\ndata: event \u{e9}\n\ndata: event 1\ndata: data: event 2\n\n";
    client.session_sends(stream);
    assert_eq!(client.take(), stream);
}

proptest! {
    /// The session's stream begins at `first`, the client missed the events from 1 on, and either source may
    /// be ahead.
    #[test]
    fn each_event_is_sent_once_and_in_order(
        turns in vec(any::<bool>(), 0..60),
        first in 1..20usize,
        total in 20..30usize,
        cut in 1..9usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _guard = runtime.enter();
        let mut client = Client::resuming();
        let (mut logged, mut sent) = (1..=total, first..=total);
        for log_is_next in turns.into_iter().chain([true; 30]).chain([false; 30]) {
            if log_is_next {
                logged.next().into_iter().for_each(|number| client.log_has(number));
            } else if let Some(number) = sent.next() {
                let event = format!("data: event {number}\n\n");
                event.as_bytes().chunks(cut).for_each(|part| client.session_sends(str::from_utf8(part).unwrap()));
            }
            prop_assert_eq!(client.read(), None);
        }
        let expected: String = (1..=total).map(|n| format!("id: {n}\ndata: event {n}\n\n")).collect();
        prop_assert_eq!(client.received, expected);
    }
}

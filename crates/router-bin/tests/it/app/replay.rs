//! opencode's event stream, through routers that come and go: a client that reconnects misses nothing.

use std::time::Duration;

use http::{Method, StatusCode};
use pod_manager::Password;
use reqwest::Response;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::test_app::{ALICE, BOB, PASSWORD, TestApp};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Opens the event stream of ALICE's session; `last` is the last event that the client has.
async fn events(app: &TestApp, hash: &str, last: Option<&str>) -> Response {
    let request = app.request_as(ALICE, Method::GET, &format!("{hash}.localhost"), "/global/event");
    let request = last.into_iter().fold(request, |request, id| request.header("last-event-id", id));
    let response = request.send().await.expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    response
}

/// Reads events until the text is received; returns all that was read.
async fn read_until(response: &mut Response, text: &str) -> String {
    let mut received = String::new();
    let reading = async {
        while !received.contains(text) {
            let chunk = response.chunk().await.expect("a stream").expect("more events");
            received += str::from_utf8(&chunk).expect("text");
        }
    };
    assert!(timeout(TIMEOUT, reading).await.is_ok(), "{text} was not received, but {received}");
    received
}

/// Returns the numbers in `{"number":…}` of events.
fn numbers(received: &str) -> Vec<u32> {
    let numbers = received.split("\"number\":").skip(1);
    numbers.filter_map(|rest| rest.split('}').next()?.parse().ok()).collect()
}

fn send(app: &TestApp, number: u32) {
    app.opencode.send_event("test.number", &json!({ "number": number }));
}

/// Waits until that many event streams are open at opencode.
async fn wait_for_streams(app: &TestApp, count: usize) {
    let waiting = async {
        while app.opencode.event_streams() != count {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(TIMEOUT, waiting).await.is_ok(), "{} streams, not {count}", app.opencode.event_streams());
}

/// Starts a router with ALICE's session, whose opencode has an event stream. The router follows it.
async fn start() -> (TestApp, String) {
    let app = TestApp::start().await;
    app.opencode.enable_events();
    let hash = app.running_session(ALICE).await;
    wait_for_streams(&app, 1).await;
    (app, hash)
}

/// Starts another router for the session of the first.
async fn start_another(first: &TestApp, streams: usize) -> TestApp {
    let app = TestApp::start().await;
    app.backend.set_endpoint(first.opencode.address(), Some(Password::new(PASSWORD)));
    app.running_session(ALICE).await;
    wait_for_streams(first, streams).await;
    app
}

#[tokio::test]
async fn a_client_that_reconnects_to_any_router_gets_exactly_what_it_missed() {
    let (first, hash) = start().await;
    let second = start_another(&first, 2).await;
    let mut client = events(&first, &hash, None).await;
    wait_for_streams(&first, 3).await;
    send(&first, 1);
    let received = read_until(&mut client, "\"number\":1}").await;
    let last = received.lines().rev().find_map(|line| line.strip_prefix("id: ")).expect("an id").to_owned();
    drop(client);
    wait_for_streams(&first, 2).await;

    (2..=50).for_each(|number| send(&first, number));
    for (router, newest) in [(&first, 51), (&second, 52)] {
        let mut client = events(router, &hash, Some(&last)).await;
        wait_for_streams(&first, 3).await;
        let mut received = read_until(&mut client, &format!("\"number\":{}}}", newest - 1)).await;
        send(&first, newest);
        received += &read_until(&mut client, &format!("\"number\":{newest}}}")).await;
        assert_eq!(numbers(&received), (2..=newest).collect::<Vec<_>>());
        drop(client);
        wait_for_streams(&first, 2).await;
    }
}

#[tokio::test]
async fn a_client_whose_router_restarted_gets_the_conversation() {
    let (first, hash) = start().await;
    let conversation = first.opencode.create_conversation("Widgets");
    first.opencode.answer(&conversation, 1, "Missed words", false);
    let restarted = start_another(&first, 2).await;
    let mut client = events(&restarted, &hash, Some("evt_of_before")).await;
    wait_for_streams(&first, 3).await;
    // What comes first from opencode itself shows that its stream has begun.
    send(&first, 1);
    let received = read_until(&mut client, "\"status\":").await;
    let place = |text: &str| received.find(text).unwrap_or_else(|| panic!("no {text} in {received}"));
    let order = ["\"session.updated\"", "\"message.updated\"", "Missed words", "\"session.status\""];
    assert!(order.map(place).is_sorted(), "{received}");
    assert!(!received.contains(PASSWORD));
    let metrics = restarted.metrics().await;
    for counter in ["reconnects", "states"] {
        let line = format!("opencode_router_event_stream_{counter}_total 1\n");
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    send(&first, 2);
    read_until(&mut client, "\"number\":2").await;
}

#[tokio::test]
async fn another_users_events_are_replayed_to_nobody() {
    let (app, hash) = start().await;
    send(&app, 1);
    let request = app.request_as(BOB, Method::GET, &format!("{hash}.localhost"), "/global/event");
    let response = request.header("last-event-id", "evt_000000000001").send().await.expect("a response");
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(app.opencode.event_streams(), 1, "opencode was not asked");
}

#[tokio::test]
async fn a_sessions_stream_is_broken_off_at_shutdown() {
    let (app, hash) = start().await;
    let mut client = events(&app, &hash, None).await;
    wait_for_streams(&app, 2).await;
    send(&app, 1);
    read_until(&mut client, "\"number\":1}").await;
    app.shutdown.cancel();
    let end = timeout(TIMEOUT, client.chunk()).await.expect("an end of the stream");
    assert!(end.is_err(), "opencode's page would forget its last event: {end:?}");
}

//! The limits of the API.

use std::time::Duration;

use http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{TestApp, test_app::ALICE};

#[tokio::test]
async fn a_body_that_does_not_arrive_is_answered_with_408_and_the_connection_closes() {
    let app =
        TestApp::build(&[("DEV_EMAIL", ALICE)], |app| app.body_deadline = Duration::from_millis(50)).await;
    let response = post(&app, "content-length: 10\r\n\r\n{").await;
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    assert!(response.contains("\"code\":\"body_timeout\""), "{response}");
}

#[tokio::test]
async fn a_request_with_two_framings_is_answered_with_its_id() {
    let app = TestApp::with(&[("DEV_EMAIL", ALICE)]).await;
    let response = post(&app, "content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
    let id = head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect("an id");
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(body["code"], "malformed_request");
    assert_eq!(body["requestId"], id);
}

/// Sends a request that ends like this, and returns what is received until the connection closes.
async fn post(app: &TestApp, end: &str) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", app.port)).await.expect("a connection");
    let host = app.public_name("localhost");
    let request =
        format!("POST /api/sessions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n{end}");
    socket.write_all(request.as_bytes()).await.expect("a sent request");
    let mut response = String::new();
    let closed = timeout(Duration::from_secs(20), socket.read_to_string(&mut response)).await;
    closed.expect("a closed connection").expect("text");
    response
}

#[tokio::test]
async fn a_start_beyond_a_limit_is_answered_with_429_and_counted() {
    for (variable, has_retry_after) in [
        ("MAX_SESSIONS_PER_USER", false),
        ("MAX_RUNNING_SESSIONS_PER_USER", false),
        ("MAX_STARTS_PER_MINUTE", true),
    ] {
        let app = TestApp::with(&[("DEV_EMAIL", ALICE), (variable, "1")]).await;
        app.running_session(ALICE).await;
        let request = app.request(Method::POST, "localhost", "/api/sessions").json(&json!({}));
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS, "{variable}");
        assert_eq!(response.headers().contains_key("retry-after"), has_retry_after, "{variable}");
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(body["code"], "limit_reached", "{variable}");
        let metrics = app.metrics().await;
        assert!(metrics.contains("opencode_router_limit_refusals_total 1"), "{variable}: {metrics}");
    }
}

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
    let mut socket = TcpStream::connect(("127.0.0.1", app.port)).await.expect("a connection");
    let head = format!(
        "POST /api/sessions HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         content-length: 10\r\n\r\n{{",
        app.public_name("localhost"),
    );
    socket.write_all(head.as_bytes()).await.expect("a sent head");
    let mut response = String::new();
    let end = timeout(Duration::from_secs(20), socket.read_to_string(&mut response)).await;
    end.expect("a closed connection").expect("text");
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    assert!(response.contains("\"code\":\"body_timeout\""), "{response}");
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

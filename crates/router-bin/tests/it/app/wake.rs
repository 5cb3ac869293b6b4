//! Requests to a stopped session start it.

use std::time::Duration;

use http::StatusCode;
use pod_manager::{Failure, FailureCode, Stage, memory::BackendCommand};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use session_key::SessionHash;
use tokio::{task::JoinHandle, time::timeout};

use super::{
    TestApp,
    test_app::{ALICE, BOB},
};

const NAVIGATION: &[(&str, &str)] =
    &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("sec-fetch-site", "none")];

pub(super) async fn stopped_session(app: &TestApp) -> String {
    let hash = app.running_session(ALICE).await;
    let path = format!("/api/sessions/{hash}/stop");
    let stop = app.request_as(ALICE, Method::POST, "localhost", &path).json(&json!({}));
    assert_eq!(stop.send().await.expect("a response").status(), StatusCode::OK);
    app.wait_for_state(ALICE, &hash, "stopped").await;
    hash
}

fn with_headers(mut request: RequestBuilder, headers: &[(&str, &str)]) -> RequestBuilder {
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
}

fn starts(app: &TestApp, hash: &str) -> usize {
    app.backend.calls(BackendCommand::Start, SessionHash::parse(hash).expect("a hash"))
}

fn send(request: RequestBuilder) -> JoinHandle<Response> {
    tokio::spawn(async move { request.send().await.expect("a response") })
}

async fn json_of(response: Response) -> Value {
    response.json().await.expect("JSON")
}

/// Waits until the metrics contain this line.
async fn wait_for_metric(app: &TestApp, line: &str) {
    let shown = async {
        while !app.metrics().await.lines().any(|shown| shown == line) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(Duration::from_secs(20), shown).await.is_err() {
        panic!("no {line} in\n{}", app.metrics().await);
    }
}

#[tokio::test]
async fn a_browser_that_opens_a_stopped_session_starts_it_and_is_led_back_to_the_address() {
    let app = TestApp::start_with(&[("SITE_HOST", "code.localhost:1234")]).await;
    let hash = stopped_session(&app).await;
    app.backend.hold(Stage::Starting);
    for (prefix, path, query) in [
        ("", "/L3dv/session/ses_1?a=b&c=%2F", "?to=/L3dv/session/ses_1%3Fa%3Db%26c%3D%252F"),
        ("5173-", "/app", "?to=/app&port=5173"),
        ("5173-", "/", "?port=5173"),
        ("", "/", ""),
        ("", "//evil.example/x", "?to=//evil.example/x"),
    ] {
        let request = app.request_as(ALICE, Method::GET, &format!("{prefix}{hash}.localhost"), path);
        let response = with_headers(request, NAVIGATION).send().await.expect("a response");
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        let expected = format!("http://code.localhost:1234/session/{hash}{query}");
        assert_eq!(response.headers()["location"], expected.as_str());
        assert_eq!(response.headers()["cache-control"], "no-store");
    }
    assert_eq!(starts(&app, &hash), 2, "it was created, and woken once");
    app.wait_for_state(ALICE, &hash, "creating").await;
    app.backend.release(Stage::Starting);
    app.wait_for_state(ALICE, &hash, "running").await;
    wait_for_metric(&app, "opencode_router_wakes_total{outcome=\"started\"} 1").await;
}

#[tokio::test]
async fn a_programs_request_is_held_until_the_session_runs() {
    let app = TestApp::start().await;
    let hash = stopped_session(&app).await;
    app.backend.hold(Stage::Starting);
    let request = app.request_as(ALICE, Method::POST, &format!("{hash}.localhost"), "/session");
    let held = send(request.header("content-type", "application/json").body("{\"title\":\"held\"}"));
    wait_for_metric(&app, "opencode_router_requests_held 1").await;
    assert!(!held.is_finished());
    app.backend.release(Stage::Starting);
    let response = held.await.expect("no panic");
    assert_eq!(response.status(), StatusCode::OK);
    wait_for_metric(&app, "opencode_router_requests_held 0").await;
    wait_for_metric(&app, "opencode_router_held_requests_total{outcome=\"running\"} 1").await;
    assert_eq!(starts(&app, &hash), 2);
}

#[tokio::test]
async fn pages_probes_prefetches_and_strangers_wake_nothing() {
    let app = TestApp::start().await;
    let hash = stopped_session(&app).await;
    let host = format!("{hash}.localhost");
    let origin = format!("http://{}", app.public_name(&host));
    let page = [("sec-fetch-mode", "cors"), ("sec-fetch-site", "same-origin")];
    for (method, headers) in [
        (Method::GET, &page[..]),
        (Method::GET, &[page[0], page[1], ("accept", "text/event-stream"), ("last-event-id", "7")]),
        (Method::POST, &[page[0], page[1], ("origin", &origin), ("content-type", "application/json")]),
        (Method::POST, &[("origin", &origin)]),
        (Method::GET, &[("upgrade", "websocket"), ("connection", "upgrade"), ("origin", &origin)]),
        (Method::HEAD, &[("accept", "text/html")]),
        (Method::HEAD, &[]),
        (Method::GET, &[("user-agent", "kube-probe/1.37"), ("accept", "*/*")]),
        (Method::GET, &[("user-agent", "Slackbot-LinkExpanding 1.0"), ("accept", "text/html")]),
        (Method::GET, &[NAVIGATION[0], NAVIGATION[1], NAVIGATION[2], ("sec-purpose", "prefetch;prerender")]),
    ] {
        let request = app.request_as(ALICE, method.clone(), &host, "/global/event");
        let response = with_headers(request, headers).send().await.expect("a response");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{method} {headers:?}");
        assert_eq!(response.headers()["retry-after"], "30", "{method} {headers:?}");
    }
    for headers in [NAVIGATION, &[]] {
        let request = app.request_as(BOB, Method::GET, &host, "/");
        let response = with_headers(request, headers).send().await.expect("a response");
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }
    app.wait_for_state(ALICE, &hash, "stopped").await;
    assert_eq!(starts(&app, &hash), 1);
}

#[tokio::test]
async fn a_start_that_fails_ends_held_requests_with_the_reason() {
    let app = TestApp::start().await;
    let hash = stopped_session(&app).await;
    let failure = Failure {
        code: FailureCode::CheckoutFailed,
        message: "The branch could not be checked out.".into(),
        advice: "See the log.".into(),
        log_tail: None,
    };
    app.backend.fail_starts(SessionHash::parse(&hash).expect("a hash"), Some(failure));
    let host = format!("{hash}.localhost");
    for _ in 0..2 {
        let response = app.get(ALICE, &host, "/session").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "30");
        let body = json_of(response).await;
        assert_eq!(body["code"], "session_failed");
        assert_eq!(
            body["error"],
            "The session failed to start. The branch could not be checked out. See the log."
        );
    }
    let request = app.request_as(ALICE, Method::GET, &host, "/x");
    let response = with_headers(request, NAVIGATION).send().await.expect("a response");
    let location = response.headers()["location"].to_str().expect("text");
    assert!(location.ends_with(&format!("/session/{hash}?to=/x")), "{location}");
    assert_eq!(starts(&app, &hash), 2, "a failed session is not started by a request");
}

#[tokio::test]
async fn limits_hold_for_starts_by_requests() {
    let app = TestApp::start_with(&[("MAX_STARTS_PER_MINUTE", "1")]).await;
    let hash = stopped_session(&app).await;
    let host = format!("{hash}.localhost");
    let response = app.get(ALICE, &host, "/session").await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(response.headers().contains_key("retry-after"));
    let body = json_of(response).await;
    assert_eq!(body["code"], "limit_reached");
    let text = body["error"].as_str().expect("a sentence");
    assert!(text.contains("you may start 1 sessions per minute"), "{text}");
    let request = app.request_as(ALICE, Method::GET, &host, "/x");
    let response = with_headers(request, NAVIGATION).send().await.expect("a response");
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let location = response.headers()["location"].to_str().expect("text");
    assert!(location.ends_with(&format!("/session/{hash}?to=/x&not-started=limit_reached")), "{location}");
    wait_for_metric(&app, "opencode_router_limit_refusals_total 1").await;
    wait_for_metric(&app, "opencode_router_wakes_total{outcome=\"limit_reached\"} 2").await;
}

#[tokio::test]
async fn a_request_waits_for_a_bounded_time() {
    let app = TestApp::start_with(&[("WAKE_TIMEOUT_SECONDS", "1")]).await;
    let hash = stopped_session(&app).await;
    app.backend.hold(Stage::Starting);
    let response = app.get(ALICE, &format!("{hash}.localhost"), "/session").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "5");
    assert_eq!(json_of(response).await["code"], "start_timed_out");
}

#[tokio::test]
async fn a_held_request_waits_until_the_drain_is_about_to_end() {
    let app = TestApp::start().await;
    let hash = stopped_session(&app).await;
    app.backend.hold(Stage::Starting);
    let held = send(app.request_as(ALICE, Method::GET, &format!("{hash}.localhost"), "/session"));
    wait_for_metric(&app, "opencode_router_requests_held 1").await;
    app.ending.cancel();
    app.shutdown.cancel();
    assert_eq!(app.get(ALICE, "localhost", "/api/sessions").await.status(), StatusCode::OK);
    assert!(!held.is_finished(), "its session may still start in time");
    app.release_held.cancel();
    let response = held.await.expect("no panic");
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "2");
    assert_eq!(json_of(response).await["code"], "router_stopping");
}

#[tokio::test]
async fn the_users_token_reaches_the_session_that_a_request_starts() {
    let app = TestApp::start().await;
    let hash = stopped_session(&app).await;
    let request = app.request_as(ALICE, Method::GET, &format!("{hash}.localhost"), "/session");
    let response =
        request.header("x-auth-request-access-token", "gho_token").send().await.expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    let hash = SessionHash::parse(&hash).expect("a hash");
    let token = app.backend.credentials(hash).and_then(|credentials| credentials.github_token);
    assert_eq!(token.expect("a token").expose(), "gho_token");
}

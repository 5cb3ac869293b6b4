//! The site's host: its headers, requests of other origins, unknown hosts, and the health listener.

use std::time::Duration;

use http::StatusCode;
use pod_manager::memory::FakeOpencode;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{
    TestApp,
    test_app::{ALICE, PASSWORD},
};

#[tokio::test]
async fn pages_and_api_have_the_sites_headers() {
    let app = TestApp::start().await;
    for (path, content_type) in
        [("/", "text/html"), ("/session/0123456789ab", "text/html"), ("/api/sessions", "application/json")]
    {
        let response = app.get(ALICE, "localhost", path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let headers = response.headers();
        let sent = headers["content-type"].to_str().expect("text");
        assert!(sent.starts_with(content_type), "{path}: {headers:?}");
        for name in [
            "content-security-policy",
            "cross-origin-opener-policy",
            "cross-origin-resource-policy",
            "permissions-policy",
            "referrer-policy",
            "x-content-type-options",
            "x-request-id",
        ] {
            assert!(headers.contains_key(name), "{name} of {path}");
        }
        assert!(!headers.contains_key("access-control-allow-origin"));
    }
    for path in ["/api/nothing", "/assets/nothing.js"] {
        assert_eq!(app.get(ALICE, "localhost", path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn pages_of_other_origins_cannot_change_anything() {
    let app = TestApp::start().await;
    let hash = app.running_session(ALICE).await;
    let session = format!("http://{}", app.public_name(&format!("{hash}.localhost")));
    let site = format!("http://{}", app.public_name("localhost"));
    let post = async |headers: &[(&str, &str)]| {
        let path = format!("/api/sessions/{hash}/resume");
        let mut request = app.request_as(ALICE, Method::POST, "localhost", &path).json(&json!({}));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("a response")
    };
    for refused in [
        &[("origin", "https://evil.example")][..],
        &[("origin", &*session)],
        &[("origin", &*session), ("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "cross-site")],
        &[("origin", "null")],
    ] {
        let response = post(refused).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{refused:?}");
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(body["code"], "cross_origin");
    }
    for accepted in [&[][..], &[("origin", &*site)], &[("origin", &*site), ("sec-fetch-site", "same-origin")]]
    {
        assert_eq!(post(accepted).await.status(), StatusCode::OK, "{accepted:?}");
    }
    let form = app
        .request_as(ALICE, Method::POST, "localhost", "/api/sessions")
        .header("content-type", "text/plain")
        .body("{}");
    let response = form.send().await.expect("a response");
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_mutation_without_a_body_needs_no_content_type_but_the_sites_origin() {
    let app = TestApp::start().await;
    let hash = app.running_session(ALICE).await;
    for (method, path, status) in [
        (Method::POST, format!("/api/sessions/{hash}/stop"), StatusCode::OK),
        (Method::POST, format!("/api/sessions/{hash}/resume"), StatusCode::OK),
        (Method::DELETE, format!("/api/sessions/{hash}"), StatusCode::NO_CONTENT),
    ] {
        let send = async |name: &str, value: &str| {
            let request = app.request_as(ALICE, method.clone(), "localhost", &path).header(name, value);
            request.send().await.expect("a response").status()
        };
        assert_eq!(send("origin", "https://evil.example").await, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(send("accept", "*/*").await, status, "{path}");
    }
}

#[tokio::test]
async fn a_session_accepts_changes_from_its_own_pages_only() {
    let app = TestApp::start().await;
    let (hash, other) = (app.running_session(ALICE).await, "http://0123456789ab.localhost");
    let host = format!("{hash}.localhost");
    let own = format!("http://{}", app.public_name(&host));
    for (origin, status) in
        [(own.as_str(), StatusCode::OK), (other, StatusCode::FORBIDDEN), ("null", StatusCode::FORBIDDEN)]
    {
        let request =
            app.request_as(ALICE, Method::POST, &host, FakeOpencode::ECHO).header("origin", origin).body("x");
        assert_eq!(request.send().await.expect("a response").status(), status, "{origin}");
    }
}

#[tokio::test]
async fn unknown_hosts_are_refused_and_counted() {
    let app = TestApp::start().await;
    for host in ["evil.example", "localhost.evil.example", "203.0.113.1"] {
        let response = app.get(ALICE, host, "/api/sessions").await;
        assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST, "{host}");
    }
    assert_eq!(app.get(ALICE, "127.0.0.1", "/api/sessions").await.status(), StatusCode::OK);
    let metrics = app.metrics().await;
    let expected = "opencode_router_requests_total{route=\"foreign\",status=\"4xx\"} 3";
    assert!(metrics.contains(expected), "{metrics}");
}

#[tokio::test]
async fn a_shutdown_ends_readiness_first_and_then_event_streams() {
    let app = TestApp::start().await;
    let mut stream = app.get(ALICE, "localhost", "/api/sessions/stream").await;
    assert_eq!(stream.status(), StatusCode::OK);
    stream.chunk().await.expect("a list").expect("a list");
    let ready = async || {
        let response = app.http.get(format!("{}/readyz", app.health)).send().await;
        response.expect("a response").status()
    };
    assert_eq!(ready().await, StatusCode::OK);
    app.ending.cancel();
    assert_eq!(ready().await, StatusCode::SERVICE_UNAVAILABLE);
    app.running_session(ALICE).await;
    stream.chunk().await.expect("an open stream").expect("another list");
    app.shutdown.cancel();
    let rest = timeout(Duration::from_secs(10), stream.text());
    let rest = rest.await.expect("an end of the stream").expect("a complete response");
    assert!(!rest.contains(PASSWORD));
}

#[tokio::test]
async fn the_histogram_has_every_stage_of_a_start_including_ready() {
    let app = TestApp::start().await;
    app.running_session(ALICE).await;
    let counted = async {
        loop {
            let metrics = app.metrics().await;
            let has_all = ["cloning", "starting", "ready"].into_iter().all(|stage| {
                let line = format!("opencode_router_start_stage_seconds_count{{stage=\"{stage}\"}} 1");
                metrics.contains(&line)
            });
            if has_all {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(Duration::from_secs(20), counted).await.is_ok(), "not all stages were counted");
}

//! The site's host: its headers, what another origin may ask, and names that are not ours.

#![expect(clippy::disallowed_methods, reason = "a test reads whole answers of the servers that it started")]

use http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Whole,
    house::{ADA, PASSWORD},
};

#[tokio::test]
async fn pages_and_api_are_there_with_the_sites_headers() {
    let whole = Whole::start().await;
    for (path, kind) in
        [("/", "text/html"), ("/session/0123456789ab", "text/html"), ("/api/sessions", "application/json")]
    {
        let answer = whole.get(ADA, "localhost", path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let headers = answer.headers();
        assert!(headers["content-type"].to_str().expect("text").starts_with(kind), "{path}: {headers:?}");
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
        assert_eq!(whole.get(ADA, "localhost", path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn another_origins_page_changes_nothing() {
    let whole = Whole::start().await;
    let hash = whole.session_of(ADA).await;
    let session = format!("http://{}", whole.name(&format!("{hash}.localhost")));
    let site = format!("http://{}", whole.name("localhost"));
    let post = async |headers: &[(&str, &str)]| {
        let mut request = whole
            .by(ADA, Method::POST, "localhost", &format!("/api/sessions/{hash}/resume"))
            .json(&json!({}));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("an answer")
    };
    for refused in [
        &[("origin", "https://evil.example")][..],
        &[("origin", &*session)],
        &[("origin", &*session), ("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "cross-site")],
        &[("origin", "null")],
    ] {
        let answer = post(refused).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{refused:?}");
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(body["code"], "cross_origin");
    }
    for taken in [&[][..], &[("origin", &*site)], &[("origin", &*site), ("sec-fetch-site", "same-origin")]] {
        assert_eq!(post(taken).await.status(), StatusCode::OK, "{taken:?}");
    }
    let form = whole
        .by(ADA, Method::POST, "localhost", "/api/sessions")
        .header("content-type", "text/plain")
        .body("{}");
    assert_eq!(form.send().await.expect("an answer").status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_mutation_without_a_body_needs_no_content_type_and_the_sites_origin_all_the_same() {
    let whole = Whole::start().await;
    let hash = whole.session_of(ADA).await;
    for (method, path, status) in [
        (Method::POST, format!("/api/sessions/{hash}/stop"), StatusCode::OK),
        (Method::POST, format!("/api/sessions/{hash}/resume"), StatusCode::OK),
        (Method::DELETE, format!("/api/sessions/{hash}"), StatusCode::NO_CONTENT),
    ] {
        let send = async |name: &str, value: &str| {
            let request = whole.by(ADA, method.clone(), "localhost", &path).header(name, value);
            request.send().await.expect("an answer").status()
        };
        assert_eq!(send("origin", "https://evil.example").await, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(send("accept", "*/*").await, status, "{path}");
    }
}

#[tokio::test]
async fn a_session_is_used_by_its_own_pages_alone() {
    let whole = Whole::start().await;
    let (hash, other) = (whole.session_of(ADA).await, "http://0123456789ab.localhost");
    let host = format!("{hash}.localhost");
    let own = format!("http://{}", whole.name(&host));
    for (origin, status) in
        [(own.as_str(), StatusCode::OK), (other, StatusCode::FORBIDDEN), ("null", StatusCode::FORBIDDEN)]
    {
        let request = whole.by(ADA, Method::POST, &host, "/tell").header("origin", origin).body("x");
        assert_eq!(request.send().await.expect("an answer").status(), status, "{origin}");
    }
}

#[tokio::test]
async fn a_name_that_is_not_ours_is_refused() {
    let whole = Whole::start().await;
    for host in ["evil.example", "localhost.evil.example", "203.0.113.1"] {
        let answer = whole.get(ADA, host, "/api/sessions").await;
        assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST, "{host}");
    }
    assert_eq!(whole.get(ADA, "127.0.0.1", "/api/sessions").await.status(), StatusCode::OK);
    let metrics = whole.http.get(format!("{}/metrics", whole.health)).send().await.expect("an answer");
    let metrics = metrics.text().await.expect("text");
    assert!(
        metrics.contains("opencode_router_requests_total{route=\"foreign\",status=\"4xx\"} 3"),
        "{metrics}"
    );
}

#[tokio::test]
async fn the_machinery_is_told_when_the_router_ends_and_event_streams_end_with_it() {
    let whole = Whole::start().await;
    let stream = whole.get(ADA, "localhost", "/api/sessions/stream").await;
    assert_eq!(stream.status(), StatusCode::OK);
    let ready =
        async || whole.http.get(format!("{}/readyz", whole.health)).send().await.expect("an answer").status();
    assert_eq!(ready().await, StatusCode::OK);
    whole.ending.cancel();
    assert_eq!(ready().await, StatusCode::SERVICE_UNAVAILABLE);
    let rest = tokio::time::timeout(std::time::Duration::from_secs(10), stream.text());
    let rest = rest.await.expect("it ends").expect("in good order");
    assert!(!rest.contains(PASSWORD));
}

#[tokio::test]
async fn every_stage_of_a_start_is_in_the_histogram_the_last_one_too() {
    let whole = Whole::start().await;
    whole.session_of(ADA).await;
    let counted = async {
        loop {
            let metrics =
                whole.http.get(format!("{}/metrics", whole.health)).send().await.expect("an answer");
            let metrics = metrics.text().await.expect("text");
            let all = ["cloning", "starting", "ready"].into_iter().all(|stage| {
                let line = format!("opencode_router_start_stage_seconds_count{{stage=\"{stage}\"}} 1");
                metrics.contains(&line)
            });
            if all {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let soon = std::time::Duration::from_secs(20);
    assert!(tokio::time::timeout(soon, counted).await.is_ok(), "not all stages were counted");
}

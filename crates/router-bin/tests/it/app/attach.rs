//! `opencode attach`: what a token lets in, and what it does not.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::StatusCode;
use pod_manager::memory::FakeOpencode;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    TestApp,
    test_app::{ALICE, BOB, PASSWORD},
};

impl TestApp {
    /// Creates a token, and returns it with its id.
    async fn attach_token(&self, user: &str, hash: &str) -> (String, String) {
        let path = format!("/api/sessions/{hash}/attach-tokens");
        let request =
            self.request_as(user, Method::POST, "localhost", &path).json(&json!({ "name": "laptop" }));
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), StatusCode::CREATED);
        let token: Value = response.json().await.expect("JSON");
        let text = |key: &str| token[key].as_str().expect("text").to_owned();
        assert_eq!(text("attachUrl"), format!("http://attach-{hash}.localhost:{}", self.port));
        (text("token"), text("id"))
    }

    /// Returns a request as `opencode attach --password` sends it.
    fn attaching(&self, hash: &str, token: &str, path: &str) -> RequestBuilder {
        let credentials = BASE64_STANDARD.encode(format!("opencode:{token}"));
        self.request(Method::GET, &format!("attach-{hash}.localhost"), path)
            .header("authorization", format!("Basic {credentials}"))
    }

    async fn attach_status(&self, hash: &str, token: &str) -> StatusCode {
        self.attaching(hash, token, "/session").send().await.expect("a response").status()
    }
}

/// Returns status, headers and body, without what differs between any two responses.
async fn without_ids(mut response: Response) -> (StatusCode, http::HeaderMap, String) {
    response.headers_mut().remove("date");
    response.headers_mut().remove("x-request-id").expect("an id");
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body: Value = response.json().await.expect("JSON");
    body["requestId"].take();
    (status, headers, body.to_string())
}

#[tokio::test]
async fn a_token_lets_in_and_is_replaced_by_the_sessions_password() {
    let app = TestApp::start().await;
    let hash = app.running_session(ALICE).await;
    let (token, _) = app.attach_token(ALICE, &hash).await;
    let own = BASE64_STANDARD.encode(format!("opencode:{PASSWORD}"));
    let host = format!("attach-{hash}.localhost");
    let bearer = app.request(Method::GET, &host, FakeOpencode::ECHO).bearer_auth(&token);
    let with_identity = app
        .attaching(&hash, &token, FakeOpencode::ECHO)
        .header("x-auth-request-email", BOB)
        .header("x-attach-password", "secret");
    for request in [bearer, with_identity] {
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), StatusCode::OK);
        let echoed = response.text().await.expect("text");
        assert!(echoed.contains(&format!("Basic {own}")), "{echoed}");
        for absent in [&token, BOB, "x-attach-password"] {
            assert!(!echoed.contains(absent), "{absent} in {echoed}");
        }
    }
}

#[tokio::test]
async fn a_wrong_token_and_an_unknown_session_are_the_same_bytes() {
    let app = TestApp::start().await;
    let hash = app.running_session(ALICE).await;
    let (token, _) = app.attach_token(ALICE, &hash).await;
    let other = app.running_session(BOB).await;
    let mut answers = Vec::new();
    for hash in [&hash, "0123456789ab"] {
        let wrong = app.attaching(hash, "wrong", "/session").send().await.expect("a response");
        let missing = app.request(Method::GET, &format!("attach-{hash}.localhost"), "/session").send().await;
        answers.push(without_ids(wrong).await);
        answers.push(without_ids(missing.expect("a response")).await);
    }
    // A token is one session's, not one user's.
    let others = app.attaching(&other, &token, "/session").send().await.expect("a response");
    answers.push(without_ids(others).await);
    let (status, headers, _) = &answers[0];
    assert_eq!(*status, StatusCode::UNAUTHORIZED);
    assert!(headers["www-authenticate"].to_str().expect("text").starts_with("Basic "));
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
}

#[tokio::test]
async fn a_token_is_read_from_the_authorization_header_alone_and_opens_nothing_else() {
    let app = TestApp::start().await;
    let hash = app.running_session(ALICE).await;
    let (token, _) = app.attach_token(ALICE, &hash).await;
    let attach = format!("attach-{hash}.localhost");
    let query = app.request(Method::GET, &attach, &format!("/session?password={token}&auth_token={token}"));
    let header = app.request(Method::GET, &attach, "/session").header("x-attach-password", &token);
    let cookie = app.request(Method::GET, &attach, "/session").header("cookie", format!("token={token}"));
    let session = app.request(Method::GET, &format!("{hash}.localhost"), "/session").bearer_auth(&token);
    let port = app.request(Method::GET, &format!("5173-{hash}.localhost"), "/").bearer_auth(&token);
    let api = app.request(Method::GET, "localhost", "/api/sessions").bearer_auth(&token);
    for request in [query, header, cookie, session, port, api] {
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{response:?}");
    }
    // Who is signed in needs a token there as well.
    assert_eq!(app.get(ALICE, &attach, "/session").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn pages_in_a_browser_cannot_attach() {
    let app = TestApp::start().await;
    let hash = app.running_session(ALICE).await;
    let (token, _) = app.attach_token(ALICE, &hash).await;
    let own = format!("http://attach-{hash}.localhost:{}", app.port);
    for (name, value) in [
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "none"),
        ("sec-fetch-site", "cross-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        let request = app.attaching(&hash, &token, "/session").header(name, value);
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{name}: {value}");
        let headers = response.headers();
        assert!(!headers.keys().any(|name| name.as_str().starts_with("access-control-")), "{headers:?}");
        assert!(!headers.contains_key("www-authenticate"), "the browser would ask for a password");
    }
    let preflight = app
        .request(Method::OPTIONS, &format!("attach-{hash}.localhost"), "/session")
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization");
    let response = preflight.send().await.expect("a response");
    assert!(response.status().is_client_error());
    assert!(!response.headers().contains_key("access-control-allow-origin"), "{response:?}");
    let program = app.attaching(&hash, &token, "/session").header("origin", own);
    assert_eq!(program.send().await.expect("a response").status(), StatusCode::OK);
}

#[tokio::test]
async fn a_revoked_token_is_refused_and_ends_what_it_let_in() {
    let app = TestApp::start().await;
    app.opencode.enable_events();
    let hash = app.running_session(ALICE).await;
    let (token, id) = app.attach_token(ALICE, &hash).await;
    let (other, _) = app.attach_token(ALICE, &hash).await;
    let open = async |token: &str| {
        let response = app.attaching(&hash, token, "/global/event").send().await.expect("a response");
        assert_eq!(response.status(), StatusCode::OK);
        response
    };
    let (mut revoked, mut kept) = (open(&token).await, open(&other).await);

    let path = format!("/api/sessions/{hash}/attach-tokens/{id}");
    let revoke = async |user: &str| {
        let request = app.request_as(user, Method::DELETE, "localhost", &path);
        request.send().await.expect("a response").status()
    };
    assert_eq!(revoke(BOB).await, StatusCode::NOT_FOUND);
    assert_eq!(app.attach_status(&hash, &token).await, StatusCode::OK);
    assert_eq!(revoke(ALICE).await, StatusCode::NO_CONTENT);
    assert_eq!(app.attach_status(&hash, &token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(app.attach_status(&hash, &other).await, StatusCode::OK);
    assert_eq!(revoke(ALICE).await, StatusCode::NOT_FOUND);

    let end = async |stream: &mut Response| loop {
        match stream.chunk().await {
            Ok(Some(_)) => {}
            other => return other.is_err(),
        }
    };
    let broken = timeout(Duration::from_secs(10), end(&mut revoked)).await.expect("the stream ends");
    assert!(broken, "a stream that is cut off does not look complete");
    let all =
        app.request_as(ALICE, Method::DELETE, "localhost", &format!("/api/sessions/{hash}/attach-tokens"));
    assert_eq!(all.send().await.expect("a response").status(), StatusCode::NO_CONTENT);
    assert_eq!(app.attach_status(&hash, &other).await, StatusCode::UNAUTHORIZED);
    timeout(Duration::from_secs(10), end(&mut kept)).await.expect("the stream ends");
}

#[tokio::test]
async fn failures_are_limited_but_a_valid_token_is_never_locked_out() {
    let app = TestApp::start().await;
    let hash = app.running_session(ALICE).await;
    let (token, _) = app.attach_token(ALICE, &hash).await;
    let mut last = None;
    for _ in 0..30 {
        let response = app.attaching(&hash, "wrong", "/session").send().await.expect("a response");
        let status = response.status();
        assert!(matches!(status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS), "{status}");
        last = Some(response);
    }
    let limited = last.expect("a response");
    assert_eq!(limited.status(), StatusCode::TOO_MANY_REQUESTS);
    let seconds: u32 = limited.headers()["retry-after"].to_str().expect("text").parse().expect("a number");
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(app.attach_status(&hash, &token).await, StatusCode::OK);
    let metrics = app.metrics().await;
    let limited = "opencode_router_attach_requests_total{outcome=\"limited\"}";
    assert!(metrics.contains(limited) && !metrics.contains(&format!("{limited} 0")), "{metrics}");
}

#[tokio::test]
async fn the_attach_listener_serves_attach_hosts_alone() {
    let app = TestApp::start().await;
    let hash = app.running_session(ALICE).await;
    let (token, _) = app.attach_token(ALICE, &hash).await;
    let request = |host: &str, path: &str| {
        app.request_as(ALICE, Method::GET, host, path).bearer_auth(&token).build().expect("a request")
    };
    let send = async |mut request: reqwest::Request| {
        request.url_mut().set_port(Some(app.attach_port)).expect("a port");
        app.http.execute(request).await.expect("a response").status()
    };
    for (host, path) in [
        ("localhost".to_owned(), "/"),
        ("localhost".to_owned(), "/api/sessions"),
        ("127.0.0.1".to_owned(), "/api/openapi.json"),
        (format!("{hash}.localhost"), "/session"),
        (format!("5173-{hash}.localhost"), "/"),
        ("elsewhere.example".to_owned(), "/"),
    ] {
        let status = send(request(&host, path)).await;
        assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "{host}{path}");
    }
    assert_eq!(send(request(&format!("attach-{hash}.localhost"), "/session")).await, StatusCode::OK);
}

#[tokio::test]
async fn attach_info_names_the_tokens_and_shows_none() {
    let app = TestApp::start().await;
    let hash = app.running_session(ALICE).await;
    let (token, id) = app.attach_token(ALICE, &hash).await;
    let path = format!("/api/sessions/{hash}/attach-info");
    let text = app.get(ALICE, "localhost", &path).await.text().await.expect("text");
    assert!(!text.contains(&token), "{text}");
    let info: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(info["attachUrl"], format!("http://attach-{hash}.localhost:{}", app.port));
    assert_eq!(info["tokens"][0]["id"], id);
    assert_eq!(info["tokens"][0]["name"], "laptop");
    assert!(info["sessionId"].as_str().is_some_and(|id| id.starts_with("ses_")), "{info}");
    assert_eq!(app.get(BOB, "localhost", &path).await.status(), StatusCode::NOT_FOUND);
    let session: Value =
        app.get(ALICE, "localhost", &format!("/api/sessions/{hash}")).await.json().await.expect("JSON");
    assert_eq!(session["attachUrl"], info["attachUrl"]);
}

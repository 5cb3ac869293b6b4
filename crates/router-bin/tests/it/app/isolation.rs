//! What one user sees of another's sessions, and which headers pass between users and sessions.

use http::StatusCode;
use pod_manager::memory::FakeOpencode;
use reqwest::Method;
use serde_json::Value;

use super::{
    TestApp,
    test_app::{ALICE, BOB, PASSWORD, PROXY_SECRET},
};

#[tokio::test]
async fn another_users_session_is_answered_like_one_that_does_not_exist() {
    let app = TestApp::start().await;
    let hash = app.running_session(ALICE).await;
    assert_eq!(app.get(ALICE, &format!("{hash}.localhost"), "/").await.status(), StatusCode::OK);

    for accept in ["application/json", "text/html"] {
        for (prefix, path) in [("", "/"), ("", "/session"), ("5173-", "/")] {
            let answer = async |hash: &str| {
                let host = format!("{prefix}{hash}.localhost");
                let request = app.request_as(BOB, Method::GET, &host, path).header("accept", accept);
                let mut response = request.send().await.expect("a response");
                response.headers_mut().remove("date");
                response.headers_mut().remove("x-request-id").expect("an id");
                let (status, headers) = (response.status(), response.headers().clone());
                let mut body = response.text().await.expect("text");
                if let Ok(mut error) = serde_json::from_str::<Value>(&body) {
                    let id = error["requestId"].take();
                    assert!(id.as_str().is_some_and(|id| !id.is_empty()), "no request id: {body}");
                    body = error.to_string();
                }
                (status, headers, body)
            };
            let (existing, missing) = (answer(&hash).await, answer("0123456789ab").await);
            assert_eq!(existing, missing, "{prefix}{path}");
            assert_eq!(existing.0, StatusCode::NOT_FOUND);
        }
    }
    for path in [format!("/api/sessions/{hash}"), format!("/api/sessions/{hash}/events")] {
        assert_eq!(app.get(BOB, "localhost", &path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let list: Value = app.get(BOB, "localhost", "/api/sessions").await.json().await.expect("JSON");
    assert_eq!(list["sessions"], Value::Array(Vec::new()));
    let delete = app.request_as(BOB, Method::DELETE, "localhost", &format!("/api/sessions/{hash}"));
    let response = delete.header("content-type", "application/json").send().await.expect("a response");
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    app.wait_for_state(ALICE, &hash, "running").await;
}

#[tokio::test]
async fn the_same_repository_and_branch_are_two_sessions_for_two_users() {
    let app = TestApp::start().await;
    assert_ne!(app.running_session(ALICE).await, app.running_session(BOB).await);
}

#[tokio::test]
async fn nothing_of_the_users_sign_in_reaches_a_session() {
    let app = TestApp::start().await;
    let hash = app.running_session(ALICE).await;
    let host = format!("{hash}.localhost");
    let response = app
        .request_as(ALICE, Method::POST, &host, FakeOpencode::ECHO)
        .header("authorization", "Bearer the-sites")
        .header("x-auth-request-access-token", "gho_secret")
        .header("x-forwarded-access-token", "gho_secret")
        .header("x-forwarded-for", "203.0.113.9")
        .header("forwarded", "for=203.0.113.9")
        .header("cookie", "_oauth2_proxy=secret; theirs=1; _oauth2_proxy_1=secret")
        .header("origin", format!("http://{}", app.public_name(&host)))
        .body("x")
        .send()
        .await
        .expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    let echoed: Value = response.json().await.expect("JSON");
    let text = echoed.to_string();
    for secret in [ALICE, PROXY_SECRET, "the-sites", "gho_secret", "_oauth2_proxy", "203.0.113.9"] {
        assert!(!text.contains(secret), "{secret} in {echoed:#}");
    }
    let header = |name: &str| echoed["headers"][name].as_str().map(str::to_owned);
    assert_eq!(header("host"), Some(app.public_name(&host)));
    assert_eq!(header("cookie").as_deref(), Some("theirs=1"));
    assert_eq!(header("x-forwarded-host"), Some(app.public_name(&host)));
    // opencode's own password, which no browser ever sees.
    assert!(header("authorization").is_some_and(|value| value.starts_with("Basic ")), "{echoed:#}");
    assert!(!text.contains(PASSWORD));
}

#[tokio::test]
async fn headers_that_a_session_may_not_set_on_our_domain_are_removed() {
    let app = TestApp::start().await;
    let hash = app.running_session(ALICE).await;
    app.opencode.set_extra_headers(&[
        ("set-cookie", "own=1; Path=/"),
        ("set-cookie", "wide=1; Domain=localhost"),
        ("set-cookie", "_oauth2_proxy=stolen"),
        ("clear-site-data", "\"*\""),
        ("strict-transport-security", "max-age=1"),
        ("alt-svc", "h3=\":443\""),
        ("x-kept", "yes"),
    ]);
    let response = app.get(ALICE, &format!("{hash}.localhost"), FakeOpencode::ECHO).await;
    let headers = response.headers();
    let cookies: Vec<_> = headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["own=1; Path=/"]);
    for name in ["clear-site-data", "strict-transport-security", "alt-svc"] {
        assert!(!headers.contains_key(name), "{name}");
    }
    assert_eq!(headers["origin-agent-cluster"], "?1");
    assert_eq!(headers["x-kept"], "yes");
    assert!(!headers.contains_key("content-security-policy"), "the site's policy is for the site only");
}

#[tokio::test]
async fn the_cookies_of_auth_cookie_names_reach_no_session() {
    let app = TestApp::with(&[("DEV_EMAIL", ALICE), ("AUTH_COOKIE_NAMES", "corp_sso, other")]).await;
    let host = format!("{}.localhost", app.running_session(ALICE).await);
    let request = app
        .request(Method::POST, &host, FakeOpencode::ECHO)
        .header("cookie", "corp_sso=secret; _oauth2_proxy=theirs; corp_sso_1=secret; other=secret")
        .header("origin", format!("http://{}", app.public_name(&host)))
        .body("x");
    let echoed = request.send().await.expect("a response").text().await.expect("text");
    assert!(echoed.contains("_oauth2_proxy=theirs") && !echoed.contains("secret"), "{echoed}");
}

#[tokio::test]
async fn a_trace_request_which_would_show_the_password_is_refused() {
    let app = TestApp::single_user().await;
    let host = format!("{}.localhost", app.running_session(ALICE).await);
    let response = app.request(Method::TRACE, &host, "/").send().await.expect("a response");
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_request_with_no_identity_or_two_is_refused() {
    let app = TestApp::start().await;
    let hash = app.running_session(ALICE).await;
    for (host, path) in
        [("localhost", "/"), ("localhost", "/api/sessions"), (&*format!("{hash}.localhost"), "/")]
    {
        let anonymous = app.request(Method::GET, host, path).send().await.expect("a response");
        assert_eq!(anonymous.status(), StatusCode::UNAUTHORIZED, "{host}{path}");
        // Without the proxy's secret, the header does not count.
        let forged = app.request(Method::GET, host, path).header("x-auth-request-email", ALICE);
        assert_eq!(forged.send().await.expect("a response").status(), StatusCode::UNAUTHORIZED);
        let ambiguous = app.request_as(ALICE, Method::GET, host, path).header("x-auth-request-email", BOB);
        assert_eq!(ambiguous.send().await.expect("a response").status(), StatusCode::BAD_REQUEST);
    }
}

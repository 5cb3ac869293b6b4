//! What one user sees of another's, and what travels on to a session and back.

#![expect(clippy::disallowed_methods, reason = "a test reads whole answers of the servers that it started")]

use http::StatusCode;
use reqwest::Method;
use serde_json::Value;

use super::{
    Whole,
    house::{ADA, BOB, PASSWORD, PROXY_SECRET},
};

#[tokio::test]
async fn anothers_session_is_answered_as_one_that_does_not_exist() {
    let whole = Whole::start().await;
    let hash = whole.session_of(ADA).await;
    assert_eq!(whole.get(ADA, &format!("{hash}.localhost"), "/").await.status(), StatusCode::OK);

    for accept in ["application/json", "text/html"] {
        for (prefix, path) in [("", "/"), ("", "/session"), ("5173-", "/"), ("attach-", "/")] {
            let ask = async |hash: &str| {
                let host = format!("{prefix}{hash}.localhost");
                let answer = whole.by(BOB, Method::GET, &host, path).header("accept", accept).send().await;
                let mut answer = answer.expect("an answer");
                answer.headers_mut().remove("date");
                answer.headers_mut().remove("x-request-id").expect("an id");
                let (status, headers) = (answer.status(), answer.headers().clone());
                let mut body = answer.text().await.expect("text");
                if let Ok(mut error) = serde_json::from_str::<Value>(&body) {
                    let id = error["requestId"].take();
                    assert!(
                        id.as_str().is_some_and(|id| !id.is_empty()),
                        "it can be found in the log: {body}"
                    );
                    body = error.to_string();
                }
                (status, headers, body)
            };
            let (theirs, nobodys) = (ask(&hash).await, ask("0123456789ab").await);
            assert_eq!(theirs, nobodys, "{prefix}{path}");
            assert_eq!(theirs.0, StatusCode::NOT_FOUND);
        }
    }
    for path in [format!("/api/sessions/{hash}"), format!("/api/sessions/{hash}/events")] {
        assert_eq!(whole.get(BOB, "localhost", &path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let list: Value = whole.get(BOB, "localhost", "/api/sessions").await.json().await.expect("JSON");
    assert_eq!(list["sessions"], Value::Array(Vec::new()));
    let deleted = whole.by(BOB, Method::DELETE, "localhost", &format!("/api/sessions/{hash}"));
    let deleted = deleted.header("content-type", "application/json").send().await.expect("an answer");
    assert_eq!(deleted.status(), StatusCode::NOT_FOUND);
    whole.until(ADA, &hash, "running").await;
}

#[tokio::test]
async fn the_same_repository_and_branch_are_two_sessions_for_two_users() {
    let whole = Whole::start().await;
    assert_ne!(whole.session_of(ADA).await, whole.session_of(BOB).await);
}

#[tokio::test]
async fn nothing_of_the_users_sign_in_reaches_a_session() {
    let whole = Whole::start().await;
    let hash = whole.session_of(ADA).await;
    let host = format!("{hash}.localhost");
    let told = whole
        .by(ADA, Method::POST, &host, "/tell")
        .header("authorization", "Bearer the-sites")
        .header("x-auth-request-access-token", "gho_secret")
        .header("x-forwarded-access-token", "gho_secret")
        .header("x-forwarded-for", "203.0.113.9")
        .header("forwarded", "for=203.0.113.9")
        .header("cookie", "_oauth2_proxy=secret; theirs=1; _oauth2_proxy_1=secret")
        .header("origin", format!("http://{}", whole.name(&host)))
        .body("x")
        .send()
        .await
        .expect("an answer");
    assert_eq!(told.status(), StatusCode::OK);
    let told: Value = told.json().await.expect("JSON");
    let text = told.to_string();
    for secret in [ADA, PROXY_SECRET, "the-sites", "gho_secret", "_oauth2_proxy", "203.0.113.9"] {
        assert!(!text.contains(secret), "{secret} in {told:#}");
    }
    let header = |name: &str| {
        let headers = told["headers"].as_array().expect("headers");
        headers.iter().find(|pair| pair[0] == name).map(|pair| pair[1].as_str().expect("text").to_owned())
    };
    assert_eq!(header("host"), Some(whole.name(&host)));
    assert_eq!(header("cookie").as_deref(), Some("theirs=1"));
    assert_eq!(header("x-forwarded-host"), Some(whole.name(&host)));
    // opencode's own password, which no browser ever sees.
    assert!(header("authorization").is_some_and(|value| value.starts_with("Basic ")), "{told:#}");
    assert!(!text.contains(PASSWORD));
}

#[tokio::test]
async fn what_a_session_may_not_set_on_our_domain_is_removed() {
    let whole = Whole::start().await;
    let hash = whole.session_of(ADA).await;
    let answer = whole.get(ADA, &format!("{hash}.localhost"), "/hostile").await;
    let headers = answer.headers();
    let cookies: Vec<_> = headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["own=1; Path=/"]);
    for name in ["clear-site-data", "strict-transport-security", "alt-svc"] {
        assert!(!headers.contains_key(name), "{name}");
    }
    assert_eq!(headers["origin-agent-cluster"], "?1");
    assert_eq!(headers["x-kept"], "yes");
    assert!(!headers.contains_key("content-security-policy"), "the site's policy is the site's");
}

#[tokio::test]
async fn the_cookies_of_another_sign_in_are_those_that_are_named() {
    let whole = Whole::with(&[("DEV_EMAIL", ADA), ("AUTH_COOKIE_NAMES", "corp_sso, other")]).await;
    let host = format!("{}.localhost", whole.session_of(ADA).await);
    let told = whole
        .request(Method::POST, &host, "/tell")
        .header("cookie", "corp_sso=secret; _oauth2_proxy=theirs; corp_sso_1=secret; other=secret")
        .header("origin", format!("http://{}", whole.name(&host)))
        .body("x");
    let told = told.send().await.expect("an answer").text().await.expect("text");
    assert!(told.contains("_oauth2_proxy=theirs") && !told.contains("secret"), "{told}");
}

#[tokio::test]
async fn a_trace_that_would_show_the_password_is_refused() {
    let whole = Whole::of_one_user().await;
    let host = format!("{}.localhost", whole.session_of(ADA).await);
    let answer = whole.request(Method::TRACE, &host, "/").send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn who_has_not_signed_in_sees_nothing_and_two_names_are_none() {
    let whole = Whole::start().await;
    let hash = whole.session_of(ADA).await;
    for (host, path) in
        [("localhost", "/"), ("localhost", "/api/sessions"), (&*format!("{hash}.localhost"), "/")]
    {
        let nobody = whole.request(Method::GET, host, path).send().await.expect("an answer");
        assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED, "{host}{path}");
        // The header alone is anybody's to send.
        let liar = whole.request(Method::GET, host, path).header("x-auth-request-email", ADA);
        assert_eq!(liar.send().await.expect("an answer").status(), StatusCode::UNAUTHORIZED);
        let two = whole.by(ADA, Method::GET, host, path).header("x-auth-request-email", BOB);
        assert_eq!(two.send().await.expect("an answer").status(), StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn ports_of_a_session_are_led_to_only_where_the_machine_is_the_users_own() {
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = server.local_addr().expect("an address").port();
    let told = axum::Router::new().fallback(|headers: http::HeaderMap| async move {
        assert!(!headers.contains_key("authorization"), "opencode's password is not a dev server's business");
        "a dev server"
    });
    let _server = tokio::task::JoinSet::from_iter([async move { drop(axum::serve(server, told).await) }]);

    let many = Whole::start().await;
    let hash = many.session_of(ADA).await;
    let answer = many.get(ADA, &format!("{port}-{hash}.localhost"), "/").await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);

    let one = Whole::of_one_user().await;
    let hash = one.session_of(ADA).await;
    let ask = async |port: u16| {
        let host = format!("{port}-{hash}.localhost");
        one.request(Method::GET, &host, "/").send().await.expect("an answer")
    };
    assert_eq!(ask(port).await.text().await.expect("text"), "a dev server");
    let health = one.health.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let opencode = one.backend.observed(hash.parse().expect("a hash")).expect("it is there");
    let pod_manager::Phase::Running(endpoint) = &opencode.phase else { panic!("{opencode:?}") };
    for closed in [one.port, health, endpoint.address.port()] {
        assert_eq!(ask(closed).await.status(), StatusCode::NOT_FOUND, "{closed}");
    }
}

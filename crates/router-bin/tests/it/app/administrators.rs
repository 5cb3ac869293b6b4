//! Who is an administrator, and what that does not give.

use http::StatusCode;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use super::{
    TestApp,
    test_app::{ALICE, BOB},
};

const ROOT: &str = "root@example.org";
const GROUPS: &str = "x-auth-request-groups";

async fn status(request: RequestBuilder) -> StatusCode {
    request.send().await.expect("a response").status()
}

#[tokio::test]
async fn addresses_and_groups_of_the_configuration_make_administrators() {
    let app =
        TestApp::start_with(&[("ADMIN_EMAILS", "Root@example.org"), ("ADMIN_GROUPS", "staff, ops")]).await;
    let list = |user| app.request_as(user, Method::GET, "localhost", "/api/admin/sessions");
    assert_eq!(status(list(ROOT)).await, StatusCode::OK);
    assert_eq!(status(list(ALICE)).await, StatusCode::NOT_FOUND);
    for (groups, expected) in [
        ("ops", StatusCode::OK),
        ("users,staff", StatusCode::OK),
        ("users, ops ", StatusCode::OK),
        ("users", StatusCode::NOT_FOUND),
        ("OPS", StatusCode::NOT_FOUND),
        ("opss", StatusCode::NOT_FOUND),
        ("", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(status(list(ALICE).header(GROUPS, groups)).await, expected, "{groups:?}");
    }
    // Which of two is the proxy's is unknown, and another spelling is not the proxy's.
    assert_eq!(
        status(list(ALICE).header(GROUPS, "ops").header(GROUPS, "users")).await,
        StatusCode::NOT_FOUND
    );
    assert_eq!(status(list(ALICE).header("x_auth_request_groups", "ops")).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn nobody_is_an_administrator_unless_the_configuration_says_so() {
    let app = TestApp::start().await;
    let list = app.request_as(ALICE, Method::GET, "localhost", "/api/admin/sessions");
    assert_eq!(status(list.header(GROUPS, "admin,root,staff")).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn groups_without_the_trusted_proxy_count_for_nothing() {
    let app = TestApp::start_with(&[("ADMIN_GROUPS", "ops")]).await;
    let forged = app.request(Method::GET, "localhost", "/api/admin/sessions");
    let forged = forged.header("x-auth-request-email", ROOT).header(GROUPS, "ops");
    assert_eq!(status(forged).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_administrator_does_not_reach_another_users_session() {
    let app = TestApp::start_with(&[("ADMIN_EMAILS", ROOT)]).await;
    let hash = app.running_session(BOB).await;
    let list: Value = app.get(ROOT, "localhost", "/api/admin/sessions").await.json().await.expect("JSON");
    assert_eq!(list["sessions"][0]["hash"], hash);
    for (host, expected) in [
        (hash.clone(), StatusCode::NOT_FOUND),
        (format!("5173-{hash}"), StatusCode::NOT_FOUND),
        // A token decides there, whoever is signed in.
        (format!("attach-{hash}"), StatusCode::UNAUTHORIZED),
    ] {
        let response = app.get(ROOT, &format!("{host}.localhost"), "/").await;
        assert_eq!(response.status(), expected, "{host}");
    }
    assert_eq!(
        app.get(ROOT, "localhost", &format!("/api/sessions/{hash}")).await.status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_session_sees_nothing_of_its_users_groups() {
    let app = TestApp::start_with(&[("ADMIN_GROUPS", "ops")]).await;
    let hash = app.running_session(ALICE).await;
    let host = format!("{hash}.localhost");
    let request = app.request_as(ALICE, Method::GET, &host, pod_manager::memory::FakeOpencode::ECHO);
    let seen: Value =
        request.header(GROUPS, "ops").send().await.expect("a response").json().await.expect("JSON");
    assert!(!seen.to_string().contains("ops"), "{seen}");
}

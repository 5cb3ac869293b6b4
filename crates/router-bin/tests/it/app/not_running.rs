//! Requests to a session that is not running, with `WAKE=false`: a person is redirected, a program gets an
//! error, and nothing is started.

use http::StatusCode;
use reqwest::Method;
use serde_json::Value;

use super::{TestApp, test_app::ALICE, wake::stopped_session};

#[tokio::test]
async fn a_browser_is_redirected_to_the_sessions_page_on_the_site() {
    let app = TestApp::start_with(&[("WAKE", "false")]).await;
    let hash = stopped_session(&app).await;
    for headers in [
        &[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")][..],
        &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("sec-fetch-site", "same-site")],
    ] {
        for prefix in ["", "5173-"] {
            let host = format!("{prefix}{hash}.localhost");
            let mut request = app.request_as(ALICE, Method::GET, &host, "/L3dvcms/session/ses_1");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let response = request.send().await.expect("a response");
            assert_eq!(response.status(), StatusCode::SEE_OTHER, "{headers:?}");
            let expected = format!("http://{}/session/{hash}", app.public_name("localhost"));
            assert_eq!(response.headers()["location"], expected.as_str());
            assert_eq!(response.headers()["cache-control"], "no-store");
        }
    }
}

#[tokio::test]
async fn a_browser_is_redirected_to_the_host_name_that_is_set_for_the_site() {
    let app = TestApp::start_with(&[("SITE_HOST", "code.localhost:1234"), ("WAKE", "false")]).await;
    let hash = stopped_session(&app).await;
    let request = app.request_as(ALICE, Method::GET, &format!("{hash}.localhost"), "/");
    let response = request.header("accept", "text/html").send().await.expect("a response");
    assert_eq!(response.headers()["location"], format!("http://code.localhost:1234/session/{hash}").as_str());
}

#[tokio::test]
async fn a_program_gets_an_error_that_says_when_to_retry() {
    let app = TestApp::start_with(&[("WAKE", "false")]).await;
    let hash = stopped_session(&app).await;
    for (method, headers) in [
        (Method::GET, &[("accept", "application/json")][..]),
        (Method::GET, &[("accept", "text/event-stream")]),
        (Method::POST, &[("accept", "text/html")]),
        (
            Method::GET,
            &[("sec-fetch-mode", "cors"), ("sec-fetch-site", "same-origin"), ("accept", "text/html")],
        ),
    ] {
        let mut request = app.request_as(ALICE, method, &format!("{hash}.localhost"), "/session");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{headers:?}");
        assert!(response.headers().contains_key("retry-after"));
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(body["code"], "not_running");
    }
    // Refused requests are no activity, and they do not start the session.
    app.wait_for_state(ALICE, &hash, "stopped").await;
}

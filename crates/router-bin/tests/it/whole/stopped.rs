//! A session that does not run: a person is led to its page, a program is told so.

#![expect(clippy::disallowed_methods, reason = "a test reads whole answers of the servers that it started")]

use http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Whole, house::ADA};

async fn stopped(whole: &Whole) -> String {
    let hash = whole.session_of(ADA).await;
    let stop =
        whole.by(ADA, Method::POST, "localhost", &format!("/api/sessions/{hash}/stop")).json(&json!({}));
    assert_eq!(stop.send().await.expect("an answer").status(), StatusCode::OK);
    whole.until(ADA, &hash, "stopped").await;
    hash
}

#[tokio::test]
async fn a_browser_is_led_to_the_sessions_page_on_the_site() {
    let whole = Whole::start().await;
    let hash = stopped(&whole).await;
    for headers in [
        &[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")][..],
        &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("sec-fetch-site", "same-site")],
    ] {
        for prefix in ["", "5173-"] {
            let mut request =
                whole.by(ADA, Method::GET, &format!("{prefix}{hash}.localhost"), "/L3dvcms/session/ses_1");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{headers:?}");
            let expected = format!("http://{}/session/{hash}", whole.name("localhost"));
            assert_eq!(answer.headers()["location"], expected.as_str());
            assert_eq!(answer.headers()["cache-control"], "no-store");
        }
    }
}

#[tokio::test]
async fn a_program_is_told_with_a_reason_and_when_to_ask_again() {
    let whole = Whole::start().await;
    let hash = stopped(&whole).await;
    for (method, headers) in [
        (Method::GET, &[("accept", "application/json")][..]),
        (Method::GET, &[("accept", "text/event-stream")]),
        (Method::POST, &[("accept", "text/html")]),
        (
            Method::GET,
            &[("sec-fetch-mode", "cors"), ("sec-fetch-site", "same-origin"), ("accept", "text/html")],
        ),
    ] {
        let mut request = whole.by(ADA, method, &format!("{hash}.localhost"), "/session");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{headers:?}");
        assert!(answer.headers().contains_key("retry-after"));
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(body["code"], "not_running");
    }
    // A refusal is not activity, and nothing starts by itself.
    whole.until(ADA, &hash, "stopped").await;
}

//! The audit lines of requests that change a session.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock},
};

use http::StatusCode;
use reqwest::Method;
use serde_json::Value;

use super::TestApp;

/// Used by this test only: the log is shared by all tests.
const USER: &str = "audited@example.org";

/// The log of this process, as JSON lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Installs the log in the process. A log per thread would race with other threads for the
    /// cached interest of callsites.
    fn install() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Log::default();
            let writer = log.clone();
            let lines = tracing_subscriber::fmt().json().flatten_event(true);
            lines.with_writer(move || writer.clone()).init();
            log
        })
    }

    /// Returns everything that was logged.
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("text")
    }

    /// Returns the actions and sessions in the audit lines of changes of secrets.
    fn secret_actions(&self) -> Vec<(String, Value)> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let actions = lines.filter(|line| line["target"] == "audit").filter_map(|line| {
            let action = line["action"].as_str().expect("text").to_owned();
            let concerns_secrets = action.starts_with("secrets_") || line["code"] == "secret_name_denied";
            concerns_secrets.then(|| (action, line["session.hash"].clone()))
        });
        actions.collect()
    }

    /// Returns the actions in the audit lines of a session.
    fn actions(&self, hash: &str) -> Vec<String> {
        let bytes = self.0.lock().expect("not poisoned").clone();
        let text = String::from_utf8(bytes).expect("text");
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let of_session = lines.filter(|line| line["target"] == "audit" && line["session.hash"] == hash);
        of_session.map(|line| line["action"].as_str().expect("text").to_owned()).collect()
    }
}

#[tokio::test]
async fn an_audit_line_has_the_sessions_hash_however_its_path_is_encoded() {
    let log = Log::install();
    let app = TestApp::start().await;
    let hash = app.running_session(USER).await;
    let encoded = format!("%{:02x}{}", hash.as_bytes()[0], &hash[1..]);
    for (method, path, status) in [
        (Method::POST, format!("/api/sessions/{encoded}/resume"), StatusCode::OK),
        (Method::POST, format!("/api/sessions/{encoded}/stop"), StatusCode::OK),
        (Method::DELETE, format!("/api/sessions/{encoded}"), StatusCode::NO_CONTENT),
        (Method::DELETE, format!("/api/sessions/{encoded}"), StatusCode::NOT_FOUND),
    ] {
        let request =
            app.request_as(USER, method, "localhost", &path).header("content-type", "application/json");
        assert_eq!(request.send().await.expect("a response").status(), status, "{path}");
    }
    assert_eq!(log.actions(&hash), ["created", "resumed", "stopped", "deleted", "refused"]);
}

#[tokio::test]
async fn changes_of_secrets_are_audited_without_names_and_values() {
    let log = Log::install();
    let app = TestApp::start().await;
    // The second name looks like a session's hash.
    for (method, path, body, status) in [
        (Method::PUT, "/MY_T0KEN_NAME", r#"{"value":"s3cr3t-value"}"#, StatusCode::OK),
        (Method::PUT, "/abcdefabcdef", r#"{"value":"s3cr3t-value"}"#, StatusCode::OK),
        (Method::PUT, "/LD_PRELOAD", r#"{"value":"s3cr3t-value"}"#, StatusCode::BAD_REQUEST),
        (Method::PATCH, "", r#"{"secrets":{"A":"s3cr3t-value"}}"#, StatusCode::OK),
        (Method::POST, "", r#"{"secrets":{"A":"s3cr3t-value"}}"#, StatusCode::OK),
        (Method::DELETE, "/A", "", StatusCode::OK),
        (Method::DELETE, "", "", StatusCode::OK),
    ] {
        let request = app
            .request_as("secretive@example.org", method, "localhost", &format!("/api/user/secret{path}"))
            .header("content-type", "application/json")
            .body(body);
        assert_eq!(request.send().await.expect("a response").status(), status, "{path}");
    }
    let actions = [
        "secrets_set",
        "secrets_set",
        "refused",
        "secrets_set",
        "secrets_replaced",
        "secrets_deleted",
        "secrets_deleted",
    ];
    let expected: Vec<_> = actions.iter().map(|action| ((*action).to_owned(), Value::Null)).collect();
    assert_eq!(log.secret_actions(), expected);
    let text = log.text();
    assert!(!text.contains("s3cr3t-value") && !text.contains("MY_T0KEN_NAME"), "{text}");
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_set_a_secret() {
    let app = TestApp::start().await;
    for origin in ["https://evil.example", "http://a48da0606867.localhost:3000"] {
        for (method, body) in [(Method::PUT, r#"{"value":"1"}"#), (Method::DELETE, "")] {
            let request = app
                .request_as("secretive@example.org", method, "localhost", "/api/user/secret/A")
                .header("content-type", "application/json")
                .header("origin", origin)
                .body(body);
            assert_eq!(request.send().await.expect("a response").status(), StatusCode::FORBIDDEN, "{origin}");
        }
    }
}

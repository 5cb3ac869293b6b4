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

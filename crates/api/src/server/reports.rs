//! What sessions report to the router, on a listener of their own: the routes of the TypeScript router's
//! plugin, which session images may still contain.
//!
//! A session's program is hostile. It identifies itself by the session's secret (`x-pod-secret`), and reports
//! about its own session alone. Everything else is answered with 401. Bodies have a size and a deadline, and
//! each session may report so often.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, Path, Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::post,
};
use parking_lot::Mutex;
use pod_manager::Manager;
use serde_json::{Value, json};
use session_key::SessionHash;
use subtle::ConstantTimeEq;
use tokio::time::{Instant, timeout};

use super::error::{self, ErrorResponse};

/// The longest report, in bytes. A report of a text holds the whole text.
const MAX_BYTES: usize = 256 * 1024;
/// How long a report may take to arrive.
const DEADLINE: Duration = Duration::from_secs(10);
/// How many reports of one session are accepted at once: the plugin sends a conversation's texts one by one
/// when it starts.
const BURST: f64 = 500.0;
const PER_SECOND: f64 = 20.0;
/// How many sessions are known with the reports that they may send.
const MAX_SESSIONS: usize = 10_000;

/// Returns the routes. Give them a listener of their own, the only one that sessions' Pods reach.
pub fn reports(manager: Arc<Manager>) -> Router {
    let state = Reports { manager, budgets: Arc::default() };
    Router::new()
        .route("/api/sessions/{hash}/progress", post(progress))
        .route("/api/sessions/{hash}/ports", post(ports))
        .fallback(async || unauthorized())
        .method_not_allowed_fallback(async || unauthorized())
        .layer(DefaultBodyLimit::max(MAX_BYTES))
        .layer(middleware::from_fn(within_deadline))
        .layer(middleware::from_fn(error::finish))
        .with_state(state)
}

#[derive(Clone)]
struct Reports {
    manager: Arc<Manager>,
    /// How many reports each session may send now, and since when.
    budgets: Arc<Mutex<HashMap<SessionHash, (f64, Instant)>>>,
}

/// Accepts a title or a text. The router follows opencode's events itself, so the report changes nothing.
async fn progress(
    State(reports): State<Reports>,
    Path(hash): Path<String>,
    request: Request,
) -> Result<Response, ErrorResponse> {
    reports.admit(&hash, request.headers())?;
    let event = read(request).await?;
    let has = |fields: &[&str]| fields.iter().all(|field| event[*field].is_string());
    let valid = match event["type"].as_str() {
        Some("session.title") => has(&["sessionID", "title"]),
        Some("message.user" | "message.assistant") => {
            has(&["partID", "messageID", "sessionID", "text"]) && event["time"].is_number()
        }
        _ => false,
    };
    if valid { Ok(accepted()) } else { Err(invalid("Invalid event payload")) }
}

/// Accepts the list of ports on which the session's programs listen. It replaces the one before.
async fn ports(
    State(reports): State<Reports>,
    Path(hash): Path<String>,
    request: Request,
) -> Result<Response, ErrorResponse> {
    let hash = reports.admit(&hash, request.headers())?;
    let report = read(request).await?;
    let ports = report["ports"].as_array().ok_or_else(|| invalid("ports array required"))?;
    let mut ports: Vec<u16> = ports
        .iter()
        .filter_map(|port| port.as_u64().and_then(|port| u16::try_from(port).ok()))
        .filter(|port| *port >= 1024 && *port != OPENCODE_PORT)
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports.truncate(MAX_PORTS);
    if let Err(error) = reports.manager.report_ports(hash, &ports).await {
        tracing::warn!(session.hash = %hash, %error, "writing a session's reported ports failed");
    }
    Ok(accepted())
}

/// opencode itself.
const OPENCODE_PORT: u16 = 4096;
const MAX_PORTS: usize = 64;

impl Reports {
    /// Returns the session if the request has its secret, and the session may report now.
    fn admit(&self, hash: &str, headers: &HeaderMap) -> Result<SessionHash, ErrorResponse> {
        let hash = SessionHash::parse(hash).ok();
        let secret = hash.and_then(|hash| self.manager.pod_secret(hash)).unwrap_or_default();
        let given = headers.get("x-pod-secret").map_or(&b""[..], |value| value.as_bytes());
        let matches = bool::from(given.ct_eq(secret.as_bytes())) && !secret.is_empty();
        let hash = hash.filter(|_| matches).ok_or_else(unauthorized)?;
        if self.spend(hash) { Ok(hash) } else { Err(too_many()) }
    }

    fn spend(&self, hash: SessionHash) -> bool {
        let now = Instant::now();
        let mut budgets = self.budgets.lock();
        if budgets.len() >= MAX_SESSIONS {
            budgets.retain(|_, (_, since)| now.duration_since(*since) < Duration::from_secs(60));
        }
        let (left, since) = budgets.entry(hash).or_insert((BURST, now));
        *left = (*left + now.duration_since(*since).as_secs_f64() * PER_SECOND).min(BURST);
        *since = now;
        let may = *left >= 1.0;
        if may {
            *left -= 1.0;
        }
        may
    }
}

/// Reads the body. Nothing is read of a report whose sender is unknown.
async fn read(request: Request) -> Result<Value, ErrorResponse> {
    let body = Bytes::from_request(request, &()).await.map_err(|error| {
        ErrorResponse::new(error.status(), "invalid_report", "The report could not be read")
    })?;
    serde_json::from_slice(&body).map_err(|_| invalid("Invalid JSON"))
}

fn accepted() -> Response {
    Json(json!({ "ok": true })).into_response()
}

fn invalid(message: &str) -> ErrorResponse {
    ErrorResponse::bad_request("invalid_report", message)
}

fn unauthorized() -> ErrorResponse {
    ErrorResponse::new(StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized")
}

fn too_many() -> ErrorResponse {
    ErrorResponse::new(StatusCode::TOO_MANY_REQUESTS, "limit_reached", "Too many reports").with_retry_after(5)
}

async fn within_deadline(request: Request, next: Next) -> Response {
    match timeout(DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            ErrorResponse::new(StatusCode::REQUEST_TIMEOUT, "timeout", "The report did not arrive in time")
                .into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Method};
    use http_body_util::BodyExt;
    use pod_manager::{
        AlwaysLeader, Credentials, ManagerSettings, ManualClock, MemoryBackend, NewSession, Password, Source,
        memory::FakeOpencode,
    };
    use session_key::Identity;
    use tokio_util::sync::{CancellationToken, DropGuard};
    use tower::ServiceExt;

    use super::*;

    struct TestReports {
        routes: Router,
        hash: SessionHash,
        secret: String,
        _opencode: FakeOpencode,
        _stop: DropGuard,
    }

    impl TestReports {
        /// The routes, with a running session.
        async fn start() -> Self {
            let clock = Arc::new(ManualClock::default());
            let backend = MemoryBackend::new(clock.clone());
            let password = Password::new("geheim");
            let opencode = FakeOpencode::start(Some(password.clone())).await;
            backend.set_endpoint(opencode.address(), Some(password.clone()));
            let manager = Manager::new(backend, Arc::new(AlwaysLeader), clock, ManagerSettings::default());
            let stop = CancellationToken::new();
            tokio::spawn(manager.clone().run(stop.clone()));
            manager.ready().await;
            let alice = Identity::parse("alice@example.com").expect("an address");
            let session = NewSession { source: Source::Empty, initial_message: None };
            let created = manager.create(&alice, session, Credentials::NONE).await.expect("a session");
            let hash = created.view.status.session.hash;
            let mut changes = manager.subscribe(&alice);
            while manager.pod_secret(hash).is_none() {
                changes.changed().await;
            }
            let routes = reports(manager);
            Self {
                routes,
                hash,
                secret: password.pod_secret(),
                _opencode: opencode,
                _stop: stop.drop_guard(),
            }
        }

        async fn send(&self, method: Method, path: &str, secret: Option<&str>, body: &str) -> (u16, Value) {
            let mut request = Request::builder().method(method).uri(path);
            if let Some(secret) = secret {
                request = request.header("x-pod-secret", secret);
            }
            let request = request.body(Body::from(body.to_owned())).expect("a request");
            let response = self.routes.clone().oneshot(request).await.expect("an answer");
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            (status, serde_json::from_slice(&body).expect("JSON"))
        }

        #[track_caller]
        fn post(&self, route: &str, body: &str) -> impl Future<Output = (u16, Value)> {
            let path = format!("/api/sessions/{}/{route}", self.hash);
            async move { self.send(Method::POST, &path, Some(&self.secret), body).await }
        }
    }

    #[tokio::test]
    async fn reports_of_the_typescript_routers_plugin_are_accepted() {
        let test = TestReports::start().await;
        for (route, body) in [
            ("progress", r#"{"type":"session.title","sessionID":"ses_1","title":"t"}"#),
            (
                "progress",
                r#"{"type":"message.user","partID":"p","messageID":"m","sessionID":"s","text":"t","time":1}"#,
            ),
            ("ports", r#"{"ports":[3000,5173]}"#),
            ("ports", r#"{"ports":[]}"#),
        ] {
            assert_eq!(test.post(route, body).await, (200, json!({ "ok": true })), "{body}");
        }
    }

    #[tokio::test]
    async fn invalid_reports_are_refused_as_by_the_typescript_router() {
        let test = TestReports::start().await;
        for (route, body, message) in [
            ("progress", "{", "Invalid JSON"),
            ("progress", "{}", "Invalid event payload"),
            ("progress", r#"{"type":"session.title","sessionID":7,"title":"t"}"#, "Invalid event payload"),
            ("ports", "", "Invalid JSON"),
            ("ports", r#"{"ports":3000}"#, "ports array required"),
        ] {
            let (status, answer) = test.post(route, body).await;
            assert_eq!((status, answer["error"].as_str()), (400, Some(message)), "{body}");
        }
        let (status, _) = test.post("progress", &" ".repeat(MAX_BYTES + 1)).await;
        assert_eq!(status, 413);
    }

    #[tokio::test]
    async fn everything_else_is_unauthorized() {
        let test = TestReports::start().await;
        let hash = test.hash;
        let (ports, secret) = (format!("/api/sessions/{hash}/ports"), Some(test.secret.as_str()));
        let wrong = "0".repeat(64);
        for (method, path, secret) in [
            (Method::POST, ports.as_str(), None),
            (Method::POST, &ports, Some("")),
            (Method::POST, &ports, Some(wrong.as_str())),
            (Method::POST, &ports, Some("geheim")),
            (Method::POST, "/api/sessions/000000000000/ports", secret),
            (Method::POST, "/api/sessions/000000000000/ports", Some("")),
            (Method::POST, "/api/sessions/x/ports", secret),
            (Method::GET, &ports, secret),
            (Method::GET, "/api/sessions", secret),
            (Method::POST, "/api/sessions", secret),
            (Method::GET, "/", secret),
            (Method::GET, "/metrics", secret),
        ] {
            let (status, answer) = test.send(method.clone(), path, secret, r#"{"ports":[]}"#).await;
            assert_eq!((status, answer["error"].as_str()), (401, Some("Unauthorized")), "{method} {path}");
        }
    }

    #[tokio::test]
    async fn a_session_may_report_so_often() {
        let test = TestReports::start().await;
        let mut refused = 0;
        for _ in 0..600 {
            let (status, _) = test.post("ports", r#"{"ports":[]}"#).await;
            refused += usize::from(status == 429);
        }
        assert!(refused > 0, "all were accepted");
    }
}

//! A router with two users, whose sessions are all one server that tells what it was sent.

#![expect(clippy::disallowed_methods, reason = "a test reads whole answers of the servers that it started")]

use std::{ffi::OsString, net::Ipv4Addr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::Request,
    response::IntoResponse,
    routing::{any, get, post},
};
use http::{HeaderMap, StatusCode};
use pod_manager::{ManualClock, MemoryBackend, Password};
use proxy_core::{ServeSettings, serve};
use reqwest::{Method, RequestBuilder, Response};
use router_bin::{compose::Composition, config::Config};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

pub(super) const ADA: &str = "ada@example.org";
pub(super) const BOB: &str = "bob@example.org";
pub(super) const PASSWORD: &str = "session-password";
pub(super) const PROXY_SECRET: &str = "known to the sign-in proxy";

/// Ends when dropped.
pub(super) struct Whole {
    pub(super) backend: Arc<MemoryBackend>,
    pub(super) port: u16,
    pub(super) health: String,
    pub(super) ending: CancellationToken,
    pub(super) http: reqwest::Client,
    _tasks: JoinSet<()>,
    _folder: tempfile::TempDir,
}

impl Whole {
    /// Users by header, from loopback with the secret.
    pub(super) async fn start() -> Self {
        Self::with(&[
            ("IDENTITY", "headers"),
            ("TRUSTED_PROXIES", "127.0.0.1"),
            ("TRUSTED_PROXY_SECRET", PROXY_SECRET),
        ])
        .await
    }

    /// The one user `ADA`.
    pub(super) async fn of_one_user() -> Self {
        Self::with(&[("DEV_EMAIL", ADA)]).await
    }

    pub(super) async fn with(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let place = ("STATE_DIR", folder.path().to_str().expect("text"));
        let all = variables
            .iter()
            .chain([&place])
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let config = Config::load(None, all).expect("a configuration");

        let mut tasks = JoinSet::new();
        let upstream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let clock = Arc::new(ManualClock::default());
        let backend = MemoryBackend::new(clock.clone());
        backend.set_endpoint(upstream.local_addr().expect("an address"), Some(Password::new(PASSWORD)));
        tasks.spawn(async move { drop(axum::serve(upstream, tells_all()).await) });

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let health = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let health_port = health.local_addr().expect("an address").port();
        let scheme = Arc::new(config.names.scheme(port).expect("names"));
        let whole =
            Composition::new(&config, backend.clone(), backend.clone(), clock, scheme).expect("composed");
        let service = whole.service(&config, vec![port, health_port]);
        let (ending, manager) = (whole.ending.clone(), whole.manager.clone());
        tasks.spawn(serve(listener, service, ServeSettings::default(), std::future::pending()));
        let routes = router_bin::health::router(whole.health());
        tasks.spawn(async move { drop(axum::serve(health, routes).await) });
        tasks.spawn(async move { whole.run(CancellationToken::new()).await });
        manager.ready().await;
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Self {
            backend,
            port,
            health: format!("http://127.0.0.1:{health_port}"),
            ending,
            http: http.build().expect("a client"),
            _tasks: tasks,
            _folder: folder,
        }
    }

    /// The public name with its port: `localhost`, or one under it.
    pub(super) fn name(&self, host: &str) -> String {
        format!("{host}:{}", self.port)
    }

    /// Nobody's request, under that name.
    pub(super) fn request(&self, method: Method, host: &str, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("http://127.0.0.1:{}{path}", self.port))
            .header("host", self.name(host))
            .timeout(Duration::from_secs(30))
    }

    /// A request that the sign-in proxy lets through for this user.
    pub(super) fn by(&self, who: &str, method: Method, host: &str, path: &str) -> RequestBuilder {
        self.request(method, host, path)
            .header("x-auth-request-email", who)
            .header("x-router-proxy-secret", PROXY_SECRET)
    }

    pub(super) async fn get(&self, who: &str, host: &str, path: &str) -> Response {
        self.by(who, Method::GET, host, path).send().await.expect("an answer")
    }

    /// A running session of this user's, of a repository that both users have.
    pub(super) async fn session_of(&self, who: &str) -> String {
        let body = json!({ "repoUrl": "https://git.example.org/acme/widgets", "branch": "main" });
        let answer = self
            .by(who, Method::POST, "localhost", "/api/sessions")
            .json(&body)
            .send()
            .await
            .expect("an answer");
        assert!(answer.status().is_success(), "{answer:?}");
        let created: Value = answer.json().await.expect("JSON");
        let hash = created["hash"].as_str().expect("a hash").to_owned();
        self.until(who, &hash, "running").await;
        hash
    }

    /// Waits until the user's stream of sessions shows it so.
    pub(super) async fn until(&self, who: &str, hash: &str, state: &str) {
        let mut stream = self.get(who, "localhost", "/api/sessions/stream").await;
        let shown = async {
            let mut text = String::new();
            while let Some(piece) = stream.chunk().await.expect("the stream goes on") {
                text.push_str(&String::from_utf8_lossy(&piece));
                // What is whole ends with an empty line; the rest is still to come.
                let Some((whole, rest)) = text.rsplit_once("\n\n") else { continue };
                let mut lists = whole
                    .lines()
                    .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data:")?).ok());
                let sessions = lists.next_back().map(|list| list["sessions"].clone()).unwrap_or_default();
                let is_so = |session: &Value| session["hash"] == hash && session["state"] == state;
                if sessions.as_array().is_some_and(|sessions| sessions.iter().any(is_so)) {
                    return;
                }
                text = rest.to_owned();
            }
            panic!("the stream ended");
        };
        timeout(Duration::from_secs(10), shown).await.unwrap_or_else(|_| panic!("{hash} is not {state}"));
    }
}

/// As much of opencode as the manager asks, and for all else: what was sent.
fn tells_all() -> Router {
    let conversation = json!({ "id": "ses_1", "title": "A title", "directory": "/work" });
    let list = Json(json!([conversation]));
    Router::new()
        .route("/session", get(|| async { list }))
        .route("/session/status", get(|| async { Json(json!({})) }))
        .route("/session/{id}/message", get(|| async { Json(json!([])) }))
        .route("/session/{id}/prompt_async", post(|| async { StatusCode::NO_CONTENT }))
        .route("/hostile", get(hostile))
        .fallback(any(tell))
}

async fn tell(request: Request) -> Json<Value> {
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    Json(json!({ "method": request.method().as_str(), "path": request.uri().path(), "headers": headers }))
}

async fn hostile() -> impl IntoResponse {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("set-cookie", "own=1; Path=/"),
        ("set-cookie", "wide=1; Domain=localhost"),
        ("set-cookie", "_oauth2_proxy=stolen"),
        ("clear-site-data", "\"*\""),
        ("strict-transport-security", "max-age=1"),
        ("alt-svc", "h3=\":443\""),
        ("x-kept", "yes"),
    ] {
        headers.append(name, value.parse().expect("a value"));
    }
    (headers, "hostile")
}

//! A router for two users, with sessions in memory whose opencode is a fake.

use std::{ffi::OsString, net::Ipv4Addr, sync::Arc, time::Duration};

use pod_manager::{ManualClock, MemoryBackend, Password, memory::FakeOpencode};
use proxy_core::{ServeSettings, serve};
use reqwest::{Method, RequestBuilder, Response};
use router_bin::{app::App, config::Config};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::session_lists::{has_state, wait_for_list};

pub(super) const ALICE: &str = "alice@example.org";
pub(super) const BOB: &str = "bob@example.org";
pub(super) const PASSWORD: &str = "session-password";
pub(super) const PROXY_SECRET: &str = "known to the sign-in proxy";

/// A running router; dropping it ends it.
pub(crate) struct TestApp {
    pub(super) backend: Arc<MemoryBackend>,
    /// The opencode of all sessions.
    pub(super) opencode: FakeOpencode,
    pub(super) port: u16,
    /// The port of the attach listener.
    pub(super) attach_port: u16,
    pub(super) health: String,
    pub(super) ending: CancellationToken,
    pub(super) shutdown: CancellationToken,
    pub(super) release_held: CancellationToken,
    pub(super) http: reqwest::Client,
    _tasks: JoinSet<()>,
    _state_dir: tempfile::TempDir,
}

impl TestApp {
    /// Starts a router that identifies users by headers of a trusted proxy.
    pub(super) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts such a router with more variables.
    pub(super) async fn start_with(variables: &[(&str, &str)]) -> Self {
        let headers = [
            ("IDENTITY", "headers"),
            ("TRUSTED_PROXIES", "127.0.0.1"),
            ("TRUSTED_PROXY_SECRET", PROXY_SECRET),
        ];
        Self::with(&[&headers, variables].concat()).await
    }

    /// Starts a router whose only user is `ALICE`.
    pub(super) async fn single_user() -> Self {
        Self::with(&[("DEV_EMAIL", ALICE)]).await
    }

    pub(super) async fn with(variables: &[(&str, &str)]) -> Self {
        Self::build(variables, |_| {}).await
    }

    /// Starts a router with these variables, after `change` has changed the app.
    pub(super) async fn build(variables: &[(&str, &str)], change: impl FnOnce(&mut App)) -> Self {
        let state_dir = tempfile::tempdir().expect("a folder");
        let state_dir_variable = ("STATE_DIR", state_dir.path().to_str().expect("text"));
        let environment = variables
            .iter()
            .chain([&state_dir_variable])
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let config = Config::load(None, environment).expect("a configuration");

        let mut tasks = JoinSet::new();
        let password = Password::new(PASSWORD);
        let opencode = FakeOpencode::start(Some(password.clone())).await;
        let clock = Arc::new(ManualClock::default());
        let backend = MemoryBackend::new(clock.clone());
        backend.set_endpoint(opencode.address(), Some(password));

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let health = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let health_port = health.local_addr().expect("an address").port();
        let scheme = Arc::new(config.names.scheme(port).expect("names"));
        let mut app = App::new(&config, backend.clone(), backend.clone(), clock, scheme).expect("an app");
        change(&mut app);
        let attach = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let attach_port = attach.local_addr().expect("an address").port();
        let (service, attach_service) = app.services(&config, vec![port, health_port, attach_port]);
        let settings = ServeSettings::new().with_refusals(app.serve_refusals());
        let (ending, shutdown, manager) = (app.ending.clone(), app.shutdown.clone(), app.manager.clone());
        let release_held = app.release_held.clone();
        tasks.spawn(serve(listener, service, settings.clone(), std::future::pending()));
        tasks.spawn(serve(attach, attach_service, settings, std::future::pending()));
        let routes = router_bin::health::router(app.health());
        tasks.spawn(async move { drop(axum::serve(health, routes).await) });
        tasks.spawn(async move { app.run(CancellationToken::new()).await });
        manager.ready().await;
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Self {
            backend,
            opencode,
            port,
            attach_port,
            health: format!("http://127.0.0.1:{health_port}"),
            ending,
            shutdown,
            release_held,
            http: http.build().expect("a client"),
            _tasks: tasks,
            _state_dir: state_dir,
        }
    }

    /// Returns the public name of a host with its port.
    pub(super) fn public_name(&self, host: &str) -> String {
        format!("{host}:{}", self.port)
    }

    /// Returns a request without identity to a host.
    pub(super) fn request(&self, method: Method, host: &str, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("http://127.0.0.1:{}{path}", self.port))
            .header("host", self.public_name(host))
            .timeout(Duration::from_secs(30))
    }

    /// Returns a request as the sign-in proxy sends it for a user.
    pub(super) fn request_as(&self, user: &str, method: Method, host: &str, path: &str) -> RequestBuilder {
        self.request(method, host, path)
            .header("x-auth-request-email", user)
            .header("x-router-proxy-secret", PROXY_SECRET)
    }

    pub(super) async fn get(&self, user: &str, host: &str, path: &str) -> Response {
        self.request_as(user, Method::GET, host, path).send().await.expect("a response")
    }

    pub(super) async fn metrics(&self) -> String {
        let response = self.http.get(format!("{}/metrics", self.health)).send().await.expect("a response");
        response.text().await.expect("text")
    }

    /// Creates a session of a repository that both users have, and waits until it runs.
    pub(super) async fn running_session(&self, user: &str) -> String {
        let body = json!({ "repoUrl": "https://git.example.org/acme/widgets", "branch": "main" });
        let response = self
            .request_as(user, Method::POST, "localhost", "/api/sessions")
            .json(&body)
            .send()
            .await
            .expect("a response");
        assert!(response.status().is_success(), "{response:?}");
        let created: Value = response.json().await.expect("JSON");
        let hash = created["hash"].as_str().expect("a hash").to_owned();
        self.wait_for_state(user, &hash, "running").await;
        hash
    }

    /// Waits until the user's event stream shows the session in that state.
    pub(super) async fn wait_for_state(&self, user: &str, hash: &str, state: &str) {
        let stream = self.get(user, "localhost", "/api/sessions/stream").await;
        let matched =
            wait_for_list(stream, Duration::from_secs(10), |list| has_state(list, hash, state)).await;
        matched.unwrap_or_else(|last| panic!("{hash} is not {state}: {last:#}"));
    }
}

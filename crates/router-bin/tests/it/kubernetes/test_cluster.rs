//! A namespace of the test cluster, and routers over it.

use std::{ffi::OsString, net::Ipv4Addr, path::PathBuf, sync::Arc, time::Duration};

use kube::Client;
use pod_manager::{
    SessionBackend, SystemClock,
    kubernetes::{
        KubernetesBackend,
        settings::ElectionTiming,
        testing::{SimulatedNode, TestNamespace},
    },
};
use proxy_core::{ServeSettings, serve};
use reqwest::{Method, RequestBuilder, StatusCode};
use router_bin::{
    app::App,
    config::{Backend, Config},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::session_lists::{has_state, wait_for_list};

pub(super) const ALICE: &str = "alice@example.org";
pub(super) const BOB: &str = "bob@example.org";
pub(super) const TOKEN: &str = "gho_alices-token";
const PROXY_SECRET: &str = "known to the sign-in proxy";
const DOMAIN: &str = "oc.example.org";
const TIMEOUT: Duration = Duration::from_secs(60);

/// A namespace with a simulated node.
pub(super) struct TestCluster {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) node: Arc<SimulatedNode>,
    pub(super) kubeconfig: PathBuf,
}

/// A router on loopback, over the namespace of a [`TestCluster`].
pub(super) struct TestRouter {
    pub(super) backend: Arc<KubernetesBackend>,
    port: u16,
    http: reqwest::Client,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl TestCluster {
    /// Creates a namespace; `None` if TEST_KUBECONFIG is not set, and the test is skipped.
    pub(super) async fn find() -> Option<Self> {
        let TestNamespace { client, settings, kubeconfig } = TestNamespace::find().await?;
        let node = SimulatedNode::start(client.clone(), &settings.namespace);
        node.start_with_conversation("A title");
        Some(Self { client, namespace: settings.namespace, node, kubeconfig })
    }

    /// Starts a router with further variables.
    pub(super) async fn router(&self, more: &[(&str, &str)]) -> TestRouter {
        let required = [
            ("BACKEND", "kubernetes"),
            ("OPENCODE_IMAGE", "registry.example/session:1"),
            ("OPENCODE_NAMESPACE", self.namespace.as_str()),
            ("ROUTER_DOMAIN", DOMAIN),
            ("ROUTE_SUFFIX", "-oc"),
            ("TRUSTED_PROXIES", "127.0.0.1"),
            ("TRUSTED_PROXY_SECRET", PROXY_SECRET),
        ];
        let environment =
            required.iter().chain(more).map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let config = Config::load(None, environment).expect("a configuration");
        let Backend::Kubernetes(mut settings) = config.backend.clone() else { panic!("BACKEND=kubernetes") };
        settings.lease = ElectionTiming {
            retry_period: Duration::from_millis(200),
            renew_deadline: Duration::from_millis(700),
            lease_duration: Duration::from_secs(1),
        };
        let clock = Arc::new(SystemClock);
        let backend = KubernetesBackend::start_up(self.client.clone(), *settings, clock.clone());

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let scheme = Arc::new(config.names.scheme(port).expect("names"));
        let app = App::new(&config, backend.clone(), backend.clone(), clock, scheme).expect("an app");
        let service = app.service(&config, vec![port]);
        let (manager, stop) = (app.manager.clone(), CancellationToken::new());
        let settings = ServeSettings::new().with_refusals(app.serve_refusals());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, service, settings, std::future::pending()));
        let stopped = stop.clone();
        tasks.spawn(async move { app.run(stopped).await });
        timeout(TIMEOUT, manager.ready()).await.expect("ready");
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        TestRouter { backend, port, http: http.build().expect("a client"), stop, tasks }
    }
}

impl TestRouter {
    /// Returns a request as the sign-in proxy sends it for a user, to a session or the site (`""`).
    pub(super) fn request_as(&self, user: &str, method: Method, session: &str, path: &str) -> RequestBuilder {
        let host = if session.is_empty() { DOMAIN.to_owned() } else { format!("{session}-oc.{DOMAIN}") };
        self.http
            .request(method, format!("http://127.0.0.1:{}{path}", self.port))
            .header("host", host)
            .header("x-auth-request-email", user)
            .header("x-auth-request-access-token", TOKEN)
            .header("x-router-proxy-secret", PROXY_SECRET)
            .timeout(TIMEOUT)
    }

    pub(super) async fn get(&self, user: &str, session: &str, path: &str) -> (StatusCode, Value) {
        let response = self.request_as(user, Method::GET, session, path).send().await.expect("a response");
        (response.status(), response.json().await.unwrap_or_default())
    }

    pub(super) async fn post(&self, user: &str, path: &str, body: Value) -> Value {
        let response =
            self.request_as(user, Method::POST, "", path).json(&body).send().await.expect("a response");
        assert!(response.status().is_success(), "{path}: {response:?}");
        response.json().await.expect("JSON")
    }

    /// Creates a session; returns its hash.
    pub(super) async fn create(&self, user: &str, branch: &str, message: Option<&str>) -> String {
        let body = json!({ "repoUrl": "https://github.com/acme/widgets", "branch": branch, "initialMessage": message });
        let created = self.post(user, "/api/sessions", body).await;
        created["hash"].as_str().expect("a hash").to_owned()
    }

    pub(super) async fn list(&self, user: &str) -> Value {
        self.get(user, "", "/api/sessions").await.1["sessions"].clone()
    }

    /// Waits until the user's event stream shows a list that matches.
    pub(super) async fn wait_for(&self, user: &str, goal: &str, matches: impl Fn(&Value) -> bool) {
        let stream = self.request_as(user, Method::GET, "", "/api/sessions/stream");
        let stream = stream.timeout(Duration::from_secs(600)).send().await.expect("a stream");
        let matched = wait_for_list(stream, TIMEOUT, matches).await;
        matched.unwrap_or_else(|last| panic!("{goal}: {last:#}"));
    }

    /// Waits until the session is in that state.
    pub(super) async fn wait_for_state(&self, user: &str, hash: &str, state: &str) {
        let goal = format!("{hash} should be {state}");
        self.wait_for(user, &goal, |list| has_state(list, hash, state)).await;
    }

    /// Ends the router as SIGTERM does.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        self.backend.shutdown().await;
        self.tasks.shutdown().await;
    }

    /// Ends the router as SIGKILL does.
    pub(super) async fn kill(mut self) {
        self.tasks.shutdown().await;
    }
}

/// The event stream of a session's messages.
pub(super) struct Messages {
    stream: reqwest::Response,
    text: String,
}

impl TestRouter {
    /// Opens the event stream of a session's messages.
    pub(super) async fn messages(&self, user: &str, hash: &str) -> Messages {
        let path = format!("/api/sessions/{hash}/progress/stream");
        let request = self.request_as(user, Method::GET, "", &path).timeout(Duration::from_secs(600));
        let stream = request.send().await.expect("a response");
        assert_eq!(stream.status(), StatusCode::OK);
        Messages { stream, text: String::new() }
    }
}

impl Messages {
    /// Waits until an event contains the text.
    pub(super) async fn wait_for(&mut self, text: &str) {
        let received = async {
            while !self.text.contains(text) {
                let chunk = self.stream.chunk().await.expect("an open stream").expect("another event");
                self.text.push_str(&String::from_utf8_lossy(&chunk));
            }
        };
        assert!(timeout(TIMEOUT, received).await.is_ok(), "{text:?} did not come; instead: {}", self.text);
    }
}

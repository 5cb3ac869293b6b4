#![expect(clippy::disallowed_methods, reason = "a test reads whole answers of the servers that it started")]

use std::{ffi::OsString, net::Ipv4Addr, path::PathBuf, sync::Arc, time::Duration};

use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, api::PostParams};
use pod_manager::{
    SessionBackend, SystemClock,
    kubernetes::{KubernetesBackend, connect, settings::ElectionTiming},
};
use proxy_core::{ServeSettings, serve};
use reqwest::{Method, RequestBuilder, StatusCode};
use router_bin::{
    compose::Composition,
    config::{Backend, Config},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::node::Node;

pub(super) const ADA: &str = "ada@example.org";
pub(super) const BOB: &str = "bob@example.org";
pub(super) const TOKEN: &str = "gho_a-token-of-hers";
const PROXY_SECRET: &str = "known to the sign-in proxy";
const DOMAIN: &str = "oc.example.org";
const PATIENCE: Duration = Duration::from_secs(60);

/// A namespace of one's own, with a stand-in for its node.
pub(super) struct Cluster {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) node: Node,
    pub(super) kubeconfig: PathBuf,
}

/// One whole router on loopback.
pub(super) struct Router {
    pub(super) backend: Arc<KubernetesBackend>,
    port: u16,
    http: reqwest::Client,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Cluster {
    /// `None`, after saying so, where there is none to test with.
    #[expect(
        clippy::disallowed_methods,
        clippy::print_stderr,
        reason = "the convention by which tests are told of a cluster"
    )]
    pub(super) async fn find() -> Option<Self> {
        let Some(kubeconfig) = std::env::var_os("TEST_KUBECONFIG").filter(|path| !path.is_empty()) else {
            eprintln!("skipped: TEST_KUBECONFIG names no cluster to test with");
            return None;
        };
        let client = connect::connect(Some(&kubeconfig), None).await.expect("a connection").client;
        let namespace = format!("test-{:016x}", rand::random::<u64>());
        let metadata = ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() };
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let object = Namespace { metadata, ..Namespace::default() };
        namespaces.create(&PostParams::default(), &object).await.expect("a namespace");
        let node = Node::start(&client, &namespace).await;
        Some(Self { client, namespace, node, kubeconfig: kubeconfig.into() })
    }

    pub(super) async fn router(&self, more: &[(&str, &str)]) -> Router {
        let least = [
            ("BACKEND", "kubernetes"),
            ("OPENCODE_IMAGE", "registry.example/session:1"),
            ("OPENCODE_NAMESPACE", self.namespace.as_str()),
            ("ROUTER_DOMAIN", DOMAIN),
            ("ROUTE_SUFFIX", "-oc"),
            ("TRUSTED_PROXIES", "127.0.0.1"),
            ("TRUSTED_PROXY_SECRET", PROXY_SECRET),
        ];
        let all = least.iter().chain(more).map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let config = Config::load(None, all).expect("a configuration");
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
        let whole =
            Composition::new(&config, backend.clone(), backend.clone(), clock, scheme).expect("composed");
        let service = whole.service(&config, vec![port]);
        let (manager, stop) = (whole.manager.clone(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, service, ServeSettings::default(), std::future::pending()));
        let stopped = stop.clone();
        tasks.spawn(async move { whole.run(stopped).await });
        timeout(PATIENCE, manager.ready()).await.expect("ready");
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Router { backend, port, http: http.build().expect("a client"), stop, tasks }
    }
}

impl Router {
    /// A request that the sign-in proxy lets through for this user, to the site (`""`) or a session.
    pub(super) fn by(&self, who: &str, method: Method, session: &str, path: &str) -> RequestBuilder {
        let host = if session.is_empty() { DOMAIN.to_owned() } else { format!("{session}-oc.{DOMAIN}") };
        self.http
            .request(method, format!("http://127.0.0.1:{}{path}", self.port))
            .header("host", host)
            .header("x-auth-request-email", who)
            .header("x-auth-request-access-token", TOKEN)
            .header("x-router-proxy-secret", PROXY_SECRET)
            .timeout(PATIENCE)
    }

    pub(super) async fn get(&self, who: &str, session: &str, path: &str) -> (StatusCode, Value) {
        let answer = self.by(who, Method::GET, session, path).send().await.expect("an answer");
        (answer.status(), answer.json().await.unwrap_or_default())
    }

    pub(super) async fn post(&self, who: &str, path: &str, body: Value) -> Value {
        let answer = self.by(who, Method::POST, "", path).json(&body).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path}: {answer:?}");
        answer.json().await.expect("JSON")
    }

    /// Asks for a session; gives its hash.
    pub(super) async fn create(&self, who: &str, branch: &str, message: Option<&str>) -> String {
        let body = json!({ "repoUrl": "https://github.com/acme/widgets", "branch": branch, "initialMessage": message });
        let created = self.post(who, "/api/sessions", body).await;
        created["hash"].as_str().expect("a hash").to_owned()
    }

    pub(super) async fn list(&self, who: &str) -> Value {
        self.get(who, "", "/api/sessions").await.1["sessions"].clone()
    }

    /// Waits until the user's stream of sessions shows that.
    pub(super) async fn until(&self, who: &str, what: &str, shown: impl Fn(&Value) -> bool) {
        let stream = self.by(who, Method::GET, "", "/api/sessions/stream");
        let mut stream = stream.timeout(Duration::from_secs(600)).send().await.expect("a stream");
        let mut last = Value::Null;
        let seen = async {
            let mut text = String::new();
            while let Some(piece) = stream.chunk().await.expect("the stream goes on") {
                text.push_str(&String::from_utf8_lossy(&piece));
                // What is whole ends with an empty line; the rest is still to come.
                let Some((whole, rest)) = text.rsplit_once("\n\n") else { continue };
                let lists = whole.lines().filter_map(|line| line.strip_prefix("data:"));
                if let Some(list) =
                    lists.filter_map(|data| serde_json::from_str::<Value>(data).ok()).next_back()
                {
                    last = list["sessions"].clone();
                    if shown(&last) {
                        return;
                    }
                }
                text = rest.to_owned();
            }
            panic!("the stream ended");
        };
        if timeout(PATIENCE, seen).await.is_err() {
            panic!("{what}: {last:#}");
        }
    }

    pub(super) async fn until_state(&self, who: &str, hash: &str, state: &str) {
        let is_so = |session: &Value| session["hash"] == hash && session["state"] == state;
        let shown = |list: &Value| list.as_array().is_some_and(|list| list.iter().any(is_so));
        self.until(who, &format!("{hash} should be {state}"), shown).await;
    }

    /// Ends as the binary does on SIGTERM.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        self.backend.shutdown().await;
        self.tasks.shutdown().await;
    }

    /// Is gone, from one moment to the next.
    pub(super) async fn kill(mut self) {
        self.tasks.shutdown().await;
    }
}

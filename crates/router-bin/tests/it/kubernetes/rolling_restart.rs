//! A rolling restart of two routers behind HAProxy, under load: no request fails.

use std::{
    collections::BTreeMap, convert::Infallible, net::IpAddr, process::Stdio, sync::Arc, time::Duration,
};

use anyhow::Context as _;
use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use http::{HeaderValue, Method, Request, Response, StatusCode, request};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use parking_lot::Mutex;
use pod_manager::memory::FakeOpencode;
use serde_json::{Value, json};
use session_key::SessionHash;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest as _, protocol::frame::coding::CloseCode},
};
use tokio_util::sync::CancellationToken;

use super::{
    haproxy::{self, Haproxy},
    test_cluster::{ALICE, TestCluster},
};

const DOMAIN: &str = "oc.example.org";
const TIMEOUT: Duration = Duration::from_secs(60);
/// The ports of the session's dev servers.
const HTTP_PORT: u16 = 8000;
const WEBSOCKET_PORT: u16 = 8001;
const CHUNK: Bytes = Bytes::from_static(&[7; 16 * 1024]);
/// A slow transfer: it takes 1.6 s, longer than it takes HAProxy to notice, and shorter than the drain.
const CHUNKS: usize = 64;
const PACE: Duration = Duration::from_millis(25);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_behind_haproxy_fails_no_request() {
    let Some(haproxy) = haproxy::find() else { return };
    let Some(cluster) = TestCluster::find().await else { return };
    cluster.node.enable_events();
    let mut routers = [Program::start(&cluster, (0, 0)).await, Program::start(&cluster, (0, 0)).await];
    let haproxy = Haproxy::start(&haproxy, [routers[0].ports, routers[1].ports]).await;
    let hash = create_session(routers[0].ports.0).await;
    let opencode = cluster.node.opencode(SessionHash::parse(&hash).expect("a hash")).await;
    let mut servers = serve_session(opencode.address().ip()).await;
    servers.spawn(send_events(opencode));

    let load = Load::start(haproxy.ports, &hash);
    load.wait_for_all().await;
    for _ in 0..2 {
        for (number, router) in (1..).zip(&mut routers) {
            router.restart(&cluster).await;
            haproxy.wait_until_up(number).await;
            load.wait_for_all().await;
        }
    }
    let report = load.end().await;
    println!("{report:#?}");
    assert!(report.failures.lock().is_empty());
    for frontend in 0..2 {
        for kind in [Kind::Events, Kind::WebSocket] {
            let ends = report.ends.lock().get(&(kind, frontend)).copied();
            assert!(ends > Some(1), "{ends:?} ends of {kind:?}: were the streams on the other router?");
        }
    }
}

#[tokio::test]
async fn a_router_that_ends_waits_for_nothing_but_what_is_under_way() {
    let Some(cluster) = TestCluster::find().await else { return };
    let mut router =
        Program::start_with(&cluster, (0, 0), [("SHUTDOWN_DELAY_SECONDS", "0"), DRAIN_OF_AN_HOUR]).await;
    let _idle = TcpStream::connect(("127.0.0.1", router.ports.0)).await.expect("a connection");
    router.signal().await;
    router.wait_for_exit().await;

    let mut router =
        Program::start_with(&cluster, (0, 0), [("SHUTDOWN_DELAY_SECONDS", "3600"), DRAIN_OF_AN_HOUR]).await;
    router.signal().await;
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let get = async |port: u16, path: &str| {
        let request = http.get(format!("http://127.0.0.1:{port}{path}")).header("host", DOMAIN);
        request.send().await.expect("a response")
    };
    let ending = async {
        while get(router.ports.1, "/readyz").await.status() != StatusCode::SERVICE_UNAVAILABLE
            || get(router.ports.0, "/").await.headers().get("connection").is_none_or(|value| value != "close")
        {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TIMEOUT, ending).await.expect("responses that ask for a new connection");
    // The second one ends the delay, too.
    router.signal().await;
    router.wait_for_exit().await;
}

const DRAIN_OF_AN_HOUR: (&str, &str) = ("DRAIN_TIMEOUT_SECONDS", "3600");

/// A router's program.
struct Program {
    child: Child,
    /// The port that it serves, and that of its health listener.
    ports: (u16, u16),
}

impl Program {
    /// Starts it, and waits until it logs that it is ready.
    async fn start(cluster: &TestCluster, ports: (u16, u16)) -> Self {
        // HAProxy needs up to a second to notice.
        Self::start_with(cluster, ports, [("SHUTDOWN_DELAY_SECONDS", "2"), ("DRAIN_TIMEOUT_SECONDS", "3")])
            .await
    }

    async fn start_with(cluster: &TestCluster, ports: (u16, u16), shutdown: [(&str, &str); 2]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_opencode-router"))
            .env_clear()
            .envs([
                ("KUBECONFIG", cluster.kubeconfig.to_str().expect("UTF-8")),
                ("BACKEND", "kubernetes"),
                ("OPENCODE_IMAGE", "registry.example/session:1"),
                ("OPENCODE_NAMESPACE", &cluster.namespace),
                ("ROUTER_DOMAIN", DOMAIN),
                ("ROUTE_SUFFIX", "-oc"),
                ("TRUSTED_PROXIES", "127.0.0.1"),
                ("LISTEN_ADDRESS", "127.0.0.1"),
                ("PORT", &ports.0.to_string()),
                ("HEALTH_PORT", &ports.1.to_string()),
                ("ATTACH_PORT", "off"),
                ("REPORT_PORT", "off"),
                ("LOG_FORMAT", "json"),
            ])
            .envs(shutdown)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the router starts");
        let mut lines = BufReader::new(child.stderr.take().expect("standard error")).lines();
        let mut log = Vec::new();
        let ready = async {
            while let Some(line) = lines.next_line().await.expect("a log") {
                let entry: Value = serde_json::from_str(&line).unwrap_or_default();
                if entry["message"] == "router ready" {
                    return Some([&entry["listening"], &entry["health"]].map(port));
                }
                log.push(line);
            }
            None
        };
        let ports = timeout(TIMEOUT, ready).await.ok().flatten();
        let [public, health] = ports.unwrap_or_else(|| panic!("the router is not ready: {log:#?}"));
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, ports: (public, health) }
    }

    /// Ends it by SIGTERM, and starts it again at the same ports.
    async fn restart(&mut self, cluster: &TestCluster) {
        self.signal().await;
        self.wait_for_exit().await;
        *self = Self::start(cluster, self.ports).await;
    }

    /// Sends SIGTERM.
    async fn signal(&self) {
        let id = self.child.id().expect("a running router").to_string();
        assert!(Command::new("kill").arg(&id).status().await.expect("kill").success());
    }

    async fn wait_for_exit(&mut self) {
        let status = timeout(TIMEOUT, self.child.wait()).await.expect("the router's end").expect("a status");
        assert!(status.success(), "{status}");
    }
}

fn port(address: &Value) -> u16 {
    let port = address.as_str().and_then(|address| address.rsplit(':').next());
    port.and_then(|port| port.parse().ok()).expect("a port")
}

/// Creates a session by the router at this port, and waits until it runs.
async fn create_session(port: u16) -> String {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let send = async |method: Method, path: &str| {
        let request = http.request(method, format!("http://127.0.0.1:{port}{path}"));
        let body = json!({ "repoUrl": "https://github.com/acme/widgets", "branch": "main" });
        let request = request.header("host", DOMAIN).header("x-auth-request-email", ALICE).json(&body);
        request.send().await.expect("a response").json::<Value>().await.expect("JSON")
    };
    let created = send(Method::POST, "/api/sessions").await;
    let hash = created["hash"].as_str().unwrap_or_else(|| panic!("no session: {created}")).to_owned();
    let running = async {
        while send(Method::GET, &format!("/api/sessions/{hash}")).await["state"] != "running" {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TIMEOUT, running).await.expect("a running session");
    hash
}

/// Starts the session's dev servers.
async fn serve_session(ip: IpAddr) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let listener = TcpListener::bind((ip, HTTP_PORT)).await.expect("the session's port");
    let chunks = || stream::iter(0..CHUNKS).then(async |_| sleep(PACE).await);
    let routes = Router::new().route("/hello", get(async || "hello").post(async |body: Bytes| body)).route(
        "/slow",
        get(move || async move { Body::from_stream(chunks().map(|()| Ok::<_, Infallible>(CHUNK))) }).post(
            async |body: Body| {
                let length = body.into_data_stream().map(|data| data.expect("a body").len());
                length.fold(0, async |sum, length| sum + length).await.to_string()
            },
        ),
    );
    tasks.spawn(async move { axum::serve(listener, routes).await.expect("a server") });
    let listener = TcpListener::bind((ip, WEBSOCKET_PORT)).await.expect("the session's port");
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() && socket.send(message).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    tasks
}

/// Sends numbered events from opencode, forever.
async fn send_events(opencode: Arc<FakeOpencode>) {
    for number in 0u64.. {
        opencode.send_event("test.number", &json!({ "number": number }));
        sleep(PACE).await;
    }
}

/// What a client does again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Get,
    /// A GET on a connection of its own.
    Connect,
    Post,
    Download,
    Upload,
    /// Follows opencode's events, and opens the stream again when it ends.
    Events,
    /// Talks on a WebSocket, and opens it again when it ends.
    WebSocket,
}

const KINDS: [(Kind, usize); 7] = [
    (Kind::Get, 3),
    (Kind::Connect, 2),
    (Kind::Post, 3),
    (Kind::Download, 2),
    (Kind::Upload, 2),
    (Kind::Events, 2),
    (Kind::WebSocket, 2),
];

/// Clients that send requests until the end.
struct Load {
    report: Arc<Report>,
    stop: CancellationToken,
    clients: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Report {
    /// The successes of each kind behind each frontend: responses, events, and messages that came back.
    successes: Mutex<BTreeMap<(Kind, usize), usize>>,
    /// How many streams were ended by a router.
    ends: Mutex<BTreeMap<(Kind, usize), usize>>,
    failures: Mutex<Vec<String>>,
}

impl Load {
    fn start(ports: [u16; 2], hash: &str) -> Self {
        let mut load =
            Self { report: Arc::default(), stop: CancellationToken::new(), clients: JoinSet::new() };
        for (frontend, port) in ports.into_iter().enumerate() {
            for (kind, count) in KINDS {
                for _ in 0..count {
                    let client = TestClient::new(kind, frontend, port, hash, load.report.clone());
                    load.clients.spawn(client.run(load.stop.clone()));
                }
            }
        }
        load
    }

    /// Waits until every kind of client has succeeded again, on both frontends.
    async fn wait_for_all(&self) {
        let before = self.report.successes.lock().clone();
        let advanced = async {
            loop {
                let now = self.report.successes.lock().clone();
                let has_advanced = |key| now.get(&key) > before.get(&key);
                if KINDS.iter().all(|&(kind, _)| has_advanced((kind, 0)) && has_advanced((kind, 1))) {
                    return;
                }
                sleep(PACE).await;
            }
        };
        assert!(timeout(TIMEOUT, advanced).await.is_ok(), "some clients have stopped: {:#?}", self.report);
    }

    /// Ends the clients after what they are doing.
    async fn end(self) -> Arc<Report> {
        self.stop.cancel();
        self.clients.join_all().await;
        self.report
    }
}

struct TestClient {
    kind: Kind,
    frontend: usize,
    port: u16,
    host: String,
    http: Client<HttpConnector, Body>,
    /// The number and the id of the event that was received last.
    last_event: Option<(u64, String)>,
    report: Arc<Report>,
}

impl TestClient {
    fn new(kind: Kind, frontend: usize, port: u16, hash: &str, report: Arc<Report>) -> Self {
        let session = format!("{hash}-oc.{DOMAIN}");
        let host = match kind {
            Kind::Events => session,
            Kind::WebSocket => format!("{WEBSOCKET_PORT}-{session}"),
            _ => format!("{HTTP_PORT}-{session}"),
        };
        // A request is never sent again: its failure must be seen.
        let http = Client::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .set_host(false)
            .pool_max_idle_per_host(usize::from(kind != Kind::Connect))
            .build_http();
        Self { kind, frontend, port, host, http, last_event: None, report }
    }

    async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let result = match self.kind {
                Kind::Get | Kind::Connect => {
                    self.expect(Method::GET, "/hello", Body::empty(), b"hello").await
                }
                Kind::Post => self.expect(Method::POST, "/hello", CHUNK.into(), &CHUNK).await,
                Kind::Download => {
                    self.expect(Method::GET, "/slow", Body::empty(), &CHUNK.repeat(CHUNKS)).await
                }
                Kind::Upload => {
                    let chunks = stream::iter(0..CHUNKS).then(async |_| {
                        sleep(PACE).await;
                        Ok::<_, Infallible>(CHUNK)
                    });
                    let length = (CHUNKS * CHUNK.len()).to_string();
                    self.expect(Method::POST, "/slow", Body::from_stream(chunks), length.as_bytes()).await
                }
                Kind::Events => self.read_events(&stop).await,
                Kind::WebSocket => self.use_websocket(&stop).await,
            };
            if let Err(error) = result {
                let (kind, protocol) = (self.kind, self.frontend + 1);
                self.report.failures.lock().push(format!("{kind:?} over HTTP/{protocol}: {error:#}"));
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn count(&self, counts: &Mutex<BTreeMap<(Kind, usize), usize>>) {
        *counts.lock().entry((self.kind, self.frontend)).or_default() += 1;
    }

    fn request(&self, method: Method, path: &str) -> request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("http://127.0.0.1:{}{path}", self.port))
            .header("host", &self.host)
            .header("x-auth-request-email", ALICE)
    }

    async fn send(&self, request: Request<Body>) -> anyhow::Result<Response<Incoming>> {
        let response = timeout(TIMEOUT, self.http.request(request)).await.context("no response")??;
        anyhow::ensure!(response.status() == StatusCode::OK, "{response:?}");
        Ok(response)
    }

    /// Sends a request, and compares the body of the response.
    async fn expect(&self, method: Method, path: &str, body: Body, expected: &[u8]) -> anyhow::Result<()> {
        let response = self.send(self.request(method, path).body(body)?).await?;
        let collected = timeout(TIMEOUT, response.into_body().collect()).await.context("no end")?;
        let received = collected.context("the response was cut off")?.to_bytes();
        anyhow::ensure!(received == expected, "{} bytes instead of {}", received.len(), expected.len());
        self.count(&self.report.successes);
        Ok(())
    }

    /// Follows the events until a router ends the stream. Each must come once, and in order.
    async fn read_events(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        let mut request = self.request(Method::GET, "/global/event");
        if let Some((_, id)) = &self.last_event {
            request = request.header("last-event-id", id);
        }
        let mut body = self.send(request.body(Body::empty())?).await?.into_body();
        let mut text = String::new();
        while let Some(frame) = stop.run_until_cancelled(timeout(TIMEOUT, body.frame())).await {
            let Some(Ok(frame)) = frame.context("no event")? else {
                anyhow::ensure!(text.is_empty(), "the stream ended inside of an event: {text:?}");
                self.count(&self.report.ends);
                return Ok(());
            };
            text.push_str(str::from_utf8(frame.data_ref().context("trailers")?)?);
            while let Some((event, rest)) = text.split_once("\n\n") {
                self.receive(event)?;
                text = rest.to_owned();
            }
        }
        Ok(())
    }

    fn receive(&mut self, event: &str) -> anyhow::Result<()> {
        let field = |name| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let (Some(id), Some(data)) = (field("id:"), field("data:")) else { return Ok(()) };
        let data: Value = serde_json::from_str(data)?;
        let Some(number) = data["payload"]["properties"]["number"].as_u64() else { return Ok(()) };
        if let Some((last, _)) = &self.last_event {
            anyhow::ensure!(number == last + 1, "event {number} after {last}");
        }
        self.last_event = Some((number, id.to_owned()));
        self.count(&self.report.successes);
        Ok(())
    }

    /// Sends messages, and expects each back, until a router ends the WebSocket.
    async fn use_websocket(&self, stop: &CancellationToken) -> anyhow::Result<()> {
        let mut request = format!("ws://{}/", self.host).into_client_request()?;
        request.headers_mut().insert("x-auth-request-email", HeaderValue::from_static(ALICE));
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let (mut socket, _) =
            timeout(TIMEOUT, client_async(request, stream)).await.context("no response")??;
        for number in 0.. {
            if stop.is_cancelled() {
                return Ok(());
            }
            let message = Message::text(format!("message {number}"));
            let sent = socket.send(message.clone()).await;
            match timeout(TIMEOUT, socket.next()).await.context("no message")? {
                Some(Ok(answer)) if answer == message => self.count(&self.report.successes),
                Some(Ok(Message::Close(Some(frame)))) if frame.code == CloseCode::Away => {
                    self.count(&self.report.ends);
                    return Ok(());
                }
                other => anyhow::bail!("{other:?} instead of message {number}, sent: {sent:?}"),
            }
            sleep(PACE).await;
        }
        Ok(())
    }
}

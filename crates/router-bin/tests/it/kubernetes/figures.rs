//! A benchmark, not a test: the router's program with 10,000 running sessions on an API server without
//! nodes. With FIGURES_EVENTS=1 the sessions offer event streams, which the router follows.
//!
//! ```sh
//! tests/cluster/with control-plane cargo test --profile bench -p router-bin --all-features \
//!     --test it kubernetes::figures -- --ignored --nocapture
//! ```

use std::{
    ffi::OsString,
    net::Ipv4Addr,
    process::Stdio,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use pod_manager::{
    Clock as _, Password, SystemClock,
    kubernetes::{
        KubernetesSettings,
        desired::{Desired, DesiredState},
        objects::{names, pod::make_pod, pvc::make_pvc, secret::make_server_secret},
        testing::{TestNamespace, now, pod_status},
    },
    memory::FakeOpencode,
    model::{Session, Source},
};
use serde_json::{Value, json};
use session_key::{GitRef, Identity, RepoPolicy, RepoUrl, SessionHash};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use super::test_cluster::{ALICE, TestCluster};

const SESSIONS: usize = 10_000;
const USERS: usize = 500;
const PASSWORD: &str = "geheim";

/// Where the opencodes answer. Each address stands for the Pods of many sessions: one could not have enough
/// ports for the connections of all.
const ADDRESSES: u8 = 16;

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 66, 0, u8::try_from(number % usize::from(ADDRESSES)).expect("a byte") + 1)
}

/// Creates the objects of running sessions as a router and a kubelet do.
async fn fill(client: &Client, namespace: &str) {
    let settings = KubernetesSettings {
        namespace: namespace.to_owned(),
        ..KubernetesSettings::new("registry.example/session:1")
    };
    let url = RepoUrl::parse("https://github.com/acme/widgets", RepoPolicy::default()).expect("a repository");
    stream::iter(0..SESSIONS)
        .for_each_concurrent(16, |number| {
            let owner = Identity::parse(&format!("user-{}@example.org", number % USERS)).expect("an address");
            let branch = GitRef::parse(&format!("many/{number}")).expect("a branch");
            let session = Session {
                hash: SessionHash::of(&owner, &url, &branch),
                owner,
                source: Source::Repository { url: url.clone(), branch, from: None },
                initial_message: None,
                created_at: SystemClock.now(),
            };
            let (settings, client) = (&settings, client.clone());
            async move {
                let new = PostParams::default();
                let run = format!("r{number}");
                let desired =
                    Desired { state: DesiredState::Running(run.clone()), since: Some(session.created_at) };
                let mut pvc = make_pvc(&session, settings, session.created_at);
                let annotations = pvc.metadata.annotations.get_or_insert_default();
                annotations.insert(names::annotation("wanted"), desired.to_annotation());
                annotations.insert(names::annotation("greeted"), "true".into());
                let pvcs: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
                pvcs.create(&new, &pvc).await.expect("a claim");
                let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
                let secret = make_server_secret(&session, settings, &Password::new(PASSWORD));
                secrets.create(&new, &secret).await.expect("a Secret");
                let mut pod = make_pod(&session, settings, session.created_at);
                pod.metadata.annotations.get_or_insert_default().insert(names::annotation("run"), run);
                pod.spec.as_mut().expect("a specification").node_name = Some("simulated".into());
                let pods: Api<Pod> = Api::namespaced(client, namespace);
                pods.create(&new, &pod).await.expect("a Pod");
                let times = json!({ "exitCode": 0, "startedAt": now(), "finishedAt": now() });
                let init = json!({ "terminated": times });
                let opencode = json!({ "running": { "startedAt": now() } });
                let status =
                    pod_status(&json!({ "init": init, "opencode": opencode, "ip": address(number) }));
                let status = Patch::Merge(json!({ "status": status }));
                pods.patch_status(&names::pod_name(session.hash), &PatchParams::default(), &status)
                    .await
                    .expect("a status");
            }
        })
        .await;
}

/// Returns an option of the benchmark.
#[expect(clippy::disallowed_methods, reason = "a benchmark's options")]
fn option(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Starts the program, or another build of it that ROUTER_BIN names, and returns its log line about the
/// addresses.
async fn start(cluster: &TestNamespace) -> (Child, Value) {
    let program = option("ROUTER_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_opencode-router").into());
    let mut child = Command::new(program)
        .env_clear()
        .envs([
            ("KUBECONFIG", cluster.kubeconfig.to_str().expect("UTF-8")),
            ("BACKEND", "kubernetes"),
            ("OPENCODE_IMAGE", "registry.example/session:1"),
            ("OPENCODE_NAMESPACE", &cluster.settings.namespace),
            ("ROUTER_DOMAIN", "oc.example.org"),
            ("TRUSTED_PROXIES", "127.0.0.1"),
            ("LISTEN_ADDRESS", "127.0.0.1"),
            ("PORT", "0"),
            ("HEALTH_PORT", "0"),
            ("LOG_FORMAT", "json"),
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the router starts");
    let mut lines = BufReader::new(child.stderr.take().expect("standard error")).lines();
    let ready = loop {
        let line = lines.next_line().await.expect("a log").expect("a line");
        let entry: Value = serde_json::from_str(&line).unwrap_or_default();
        if entry["message"] == "router ready" {
            break entry;
        }
    };
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, ready)
}

fn resident_mib(child: &Child) -> f64 {
    let id = child.id().expect("a running router");
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a benchmark that takes minutes"]
async fn ten_thousand_sessions_of_five_hundred_users() {
    let Some(cluster) = TestNamespace::find().await else { return };
    let client = cluster.client.clone();
    let mut opencodes = Vec::new();
    for number in 0..usize::from(ADDRESSES) {
        let address = (address(number), names::PORT).into();
        let opencode = FakeOpencode::start_at(address, Some(Password::new(PASSWORD))).await;
        opencode.create_conversation("A title");
        if option("FIGURES_EVENTS").is_some() {
            opencode.enable_events();
        }
        opencodes.push(opencode);
    }
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let wait_ready = async |log_line: &Value| {
        let url = format!("http://{}/readyz", log_line["health"].as_str().expect("an address"));
        while !http.get(&url).send().await.is_ok_and(|response| response.status().is_success()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (child, log_line) = start(&cluster).await;
    wait_ready(&log_line).await;
    println!("resident, no session: {:.1} MiB", resident_mib(&child));
    drop(child);

    fill(&client, &cluster.settings.namespace).await;
    println!("{SESSIONS} sessions of {USERS} users exist");
    let started = Instant::now();
    let (child, log_line) = start(&cluster).await;
    wait_ready(&log_line).await;
    println!(
        "start to ready: {:.2} s; resident {:.1} MiB",
        started.elapsed().as_secs_f64(),
        resident_mib(&child)
    );

    let port =
        log_line["listening"].as_str().and_then(|url| url.rsplit(':').next()).expect("a port").to_owned();
    let list = async |user: usize| {
        let request = http.get(format!("http://127.0.0.1:{port}/api/sessions"));
        let response = request
            .header("host", "oc.example.org")
            .header("x-auth-request-email", format!("user-{user}@example.org"))
            .send()
            .await
            .expect("a response");
        response.json::<Value>().await.expect("JSON")["sessions"].clone()
    };
    let running = |list: &Value| {
        list.as_array().expect("a list").iter().filter(|session| session["state"] == "running").count()
    };
    let mut waiting: Vec<_> = (0..USERS).collect();
    while let Some(&user) = waiting.last() {
        if running(&list(user).await) == SESSIONS / USERS {
            waiting.pop();
        } else {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    println!(
        "start to all of them running: {:.2} s; resident {:.1} MiB",
        started.elapsed().as_secs_f64(),
        resident_mib(&child)
    );

    // What starting left behind is returned; probes and followers have begun.
    tokio::time::sleep(Duration::from_secs(60)).await;
    println!("a minute later: resident {:.1} MiB", resident_mib(&child));
    let mut durations = Vec::new();
    for number in 0..1000 {
        let started = Instant::now();
        list(number % USERS).await;
        durations.push(started.elapsed());
    }
    durations.sort();
    let ms = |at: usize| durations[at].as_secs_f64() * 1000.0;
    println!(
        "GET /api/sessions, {} of {SESSIONS}: p50 {:.2} ms, p99 {:.2} ms",
        SESSIONS / USERS,
        ms(500),
        ms(990)
    );

    // The latency from a change in the cluster to the list.
    let changed = list(0).await[0]["hash"].as_str().expect("a hash").to_owned();
    let hash: SessionHash = changed.parse().expect("a hash");
    let activity = Patch::Merge(
        json!({ "metadata": { "annotations": { "opencode.ai/last-activity": "2030-01-01T00:00:00.000Z" } } }),
    );
    let pvcs: Api<PersistentVolumeClaim> = Api::namespaced(client, &cluster.settings.namespace);
    pvcs.patch(&names::pvc_name(hash), &PatchParams::default(), &activity).await.expect("a patched claim");
    let started = Instant::now();
    while !list(0).await[0]["lastActivity"].as_str().is_some_and(|at| at.starts_with("2030")) {
        tokio::task::yield_now().await;
    }
    println!("a change by another to the list: {:.1} ms", started.elapsed().as_secs_f64() * 1000.0);
}

/// Measures the time from a message in opencode until a viewer of another router than the leader has it.
#[tokio::test]
#[ignore = "a benchmark"]
async fn from_a_message_to_a_viewer_of_another_router() {
    let Some(cluster) = TestCluster::find().await else { return };
    cluster.node.enable_events();
    let (one, two) = (cluster.router(&[]).await, cluster.router(&[]).await);
    let hash = one.create(ALICE, "main", None).await;
    two.wait_for_state(ALICE, &hash, "running").await;
    let opencode = cluster.node.opencode(SessionHash::parse(&hash).expect("a hash")).await;
    let conversation = opencode.conversations().last().expect("a conversation").0.clone();
    let mut messages = two.messages(ALICE, &hash).await;
    opencode.answer(&conversation, 0, "warm-up", false);
    messages.wait_for("warm-up").await;
    let mut times = Vec::new();
    for number in 1..=200 {
        // Longer than the shortest time between two updates of one viewer.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (text, begun) = (format!("message {number}."), Instant::now());
        opencode.answer(&conversation, number, &text, false);
        messages.wait_for(&text).await;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    println!("message to viewer: p50 {:?}, p95 {:?}, most {:?}", times[100], times[190], times[199]);
    one.end().await;
    two.end().await;
}

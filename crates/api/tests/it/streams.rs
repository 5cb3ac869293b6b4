//! Event streams.

#![expect(clippy::disallowed_methods, reason = "a test reads whole answers of the servers that it started")]

use std::{sync::Arc, time::Duration};

use api::{
    client::Client,
    server::{self, ApiState, Github, Settings},
    testing::USER,
    wire::{SessionEvent, StageName, State},
};
use axum::{body::Body, http::Request};
use futures_util::StreamExt;
use pod_manager::{
    AlwaysLeader, Failure, FailureCode, Manager, ManagerSettings, ManualClock, MemoryBackend, Stage,
};
use session_key::{GitRef, HostScheme, Identity, RepoPolicy, RepoUrl, SessionHash};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{ALICE, BOB, REPO, create, next, router, soon, wait_for};

fn failure() -> Failure {
    Failure {
        code: FailureCode::RepositoryNotFound,
        message: "There is no such repository.".into(),
        advice: "Look at its address.".into(),
        log_tail: Some("fatal: not found".into()),
    }
}

#[tokio::test]
async fn the_list_is_sent_at_once_and_after_every_change() {
    let router = router().await;
    let alice = router.client(ALICE);
    let mut lists = alice.watch_list();
    let first = next(&mut lists).await;
    assert_eq!((first.email.as_str(), first.sessions.len()), (ALICE, 0));
    router.backend.hold(Stage::Cloning);
    let hash = create(&alice, "fix").await;
    assert_eq!(next(&mut lists).await.sessions.first().expect("the session").state, State::Creating);
    router.backend.release(Stage::Cloning);
    while next(&mut lists).await.sessions.first().expect("the session").state != State::Running {}
    soon(alice.delete(hash)).await.expect("deleted");
    while !next(&mut lists).await.sessions.is_empty() {}
}

#[tokio::test]
async fn another_users_changes_are_not_sent() {
    let router = router().await;
    let (alice, bob) = (router.client(ALICE), router.client(BOB));
    let mut bobs_lists = bob.watch_list();
    assert!(next(&mut bobs_lists).await.sessions.is_empty());
    let alices = create(&alice, "fix").await;
    wait_for(&alice, alices, State::Running).await;
    let own = create(&bob, "other").await;
    // Bob's next list is that of his own session already.
    let hashes: Vec<_> = next(&mut bobs_lists).await.sessions.iter().map(|session| session.hash).collect();
    assert_eq!(hashes, [own]);
}

#[tokio::test]
async fn a_start_is_reported_until_the_session_runs() {
    let router = router().await;
    let alice = router.client(ALICE);
    router.backend.hold(Stage::Cloning);
    let hash = create(&alice, "fix").await;
    let mut events = alice.watch(hash);
    let SessionEvent::Progress { stage, stages, .. } = next(&mut events).await else { panic!("no progress") };
    assert_eq!(stage, StageName::Cloning);
    assert!(stages.len() >= 3, "{stages:?}");
    assert_eq!(next(&mut events).await, SessionEvent::StateChange { state: State::Creating });
    router.backend.release(Stage::Cloning);
    let mut events_before = Vec::new();
    let url = loop {
        match next(&mut events).await {
            SessionEvent::Complete { url } => break url,
            event => events_before.push(event),
        }
    };
    assert!(
        events_before.contains(&SessionEvent::StateChange { state: State::Running }),
        "{events_before:?}"
    );
    assert_eq!(url, format!("http://{hash}.localhost:3000/L2Zha2UvcmVwbw/session/ses_fake1"));
    assert!(soon(events.next()).await.is_none(), "the stream ends");
}

#[tokio::test]
async fn a_failed_start_is_reported_with_its_reason() {
    let router = router().await;
    let alice = router.client(ALICE);
    let owner = Identity::parse(ALICE).expect("an address");
    let repo = RepoUrl::parse(REPO, RepoPolicy::default()).expect("a repository");
    let hash = SessionHash::of(&owner, &repo, &GitRef::parse("fix").expect("a branch"));
    router.backend.fail_starts(hash, Some(failure()));
    assert_eq!(create(&alice, "fix").await, hash);
    let mut events = alice.watch(hash);
    let (message, reason) = loop {
        if let SessionEvent::Error { message, reason } = next(&mut events).await {
            break (message, reason.expect("a reason"));
        }
    };
    assert_eq!(message, "There is no such repository.");
    assert_eq!(reason.code, "repository_not_found");
    assert_eq!(reason.log_tail.as_deref(), Some("fatal: not found"));
    assert!(soon(events.next()).await.is_none(), "the stream ends");
}

#[tokio::test]
async fn deleting_a_session_ends_its_stream() {
    let router = router().await;
    let alice = router.client(ALICE);
    router.backend.hold(Stage::Starting);
    let hash = create(&alice, "fix").await;
    let mut events = alice.watch(hash);
    next(&mut events).await;
    soon(alice.delete(hash)).await.expect("deleted");
    let last = loop {
        let event = next(&mut events).await;
        if event.is_last() {
            break event;
        }
    };
    assert_eq!(last, SessionEvent::Error { message: "The session was deleted.".into(), reason: None });
}

#[tokio::test]
async fn a_stream_is_not_buffered_and_its_last_event_ends_reconnects() {
    let router = router().await;
    let alice = router.client(ALICE);
    let hash = create(&alice, "fix").await;
    wait_for(&alice, hash, State::Running).await;
    let url = format!("{}/api/sessions/{hash}/events", router.address());
    let send = |last: &'static str| {
        let request = reqwest::Client::new().get(&url).header(USER, ALICE).header("last-event-id", last);
        soon(request.send())
    };
    let answer = send("").await.expect("an answer");
    for (name, value) in
        [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")]
    {
        assert_eq!(answer.headers()[name], value, "{name}");
    }
    let text = soon(answer.text()).await.expect("a stream that ends");
    let last = text.trim_end().rsplit("\n\n").next().expect("an event");
    assert!(last.contains("event: complete") && last.contains("id: end"), "{last}");
    assert_eq!(send("end").await.expect("an answer").status(), 204);
    assert_eq!(send("other").await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn streams_end_when_the_router_drains() {
    let router = router().await;
    let alice = router.client(ALICE).with_reconnect_timeout(Duration::ZERO);
    let mut lists = alice.watch_list();
    next(&mut lists).await;
    router.shutdown.cancel();
    let error = soon(lists.next()).await.expect("an error").expect_err("an error");
    assert!(error.is_transient(), "{error}");
    assert!(soon(lists.next()).await.is_none());
    soon(alice.list()).await.expect("an answer");
}

#[tokio::test]
async fn an_unreachable_router_is_reported_with_a_hint() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", unused.local_addr().expect("an address"));
    drop(unused);
    let client = Client::new(&address).expect("a client");
    let error = soon(client.list()).await.expect_err("an error");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(error.hint().expect("a hint").contains("make run"));
}

/// A TCP proxy in front of the router, whose connections can be cut.
struct TestProxy {
    address: String,
    cut: tokio::sync::watch::Sender<()>,
    _task: tokio::task::JoinSet<()>,
}

impl TestProxy {
    async fn start(router: &str) -> Self {
        let router = router.trim_start_matches("http://").to_owned();
        let listener = soon(tokio::net::TcpListener::bind("127.0.0.1:0")).await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let cut = tokio::sync::watch::Sender::new(());
        let mut task = tokio::task::JoinSet::new();
        let cuts = cut.clone();
        task.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut downstream, _)) = listener.accept().await {
                let (router, mut cut) = (router.clone(), cuts.subscribe());
                connections.spawn(async move {
                    let mut upstream = tokio::net::TcpStream::connect(router).await.expect("the router");
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut downstream, &mut upstream) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, cut, _task: task }
    }
}

#[tokio::test]
async fn a_stream_reconnects_after_its_connection_was_cut_and_misses_nothing() {
    let router = router().await;
    let alice = router.client(ALICE);
    let proxy = TestProxy::start(router.address()).await;
    let header = api::client::parse_header(&format!("{USER}: {ALICE}")).expect("a header");
    let client = Client::with_headers(&proxy.address, [header].into_iter().collect()).expect("a client");
    let mut lists = client.watch_list();
    assert!(next(&mut lists).await.sessions.is_empty());
    proxy.cut.send_replace(());
    let hash = create(&alice, "fix").await;
    while next(&mut lists).await.sessions.iter().all(|session| session.hash != hash) {}
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_events_sends_a_heartbeat() {
    let clock = Arc::new(ManualClock::default());
    let manager = Manager::new(
        MemoryBackend::new(clock.clone()),
        Arc::new(AlwaysLeader),
        clock,
        ManagerSettings::default(),
    );
    let settings = Settings {
        scheme: HostScheme::new("localhost:3000", "", "attach-").expect("a scheme"),
        proto: "http".to_owned(),
        repos: RepoPolicy::default(),
        default_repo: None,
        version: String::new(),
        body_deadline: server::BODY_DEADLINE,
    };
    let github = Github::new(github::Client::new(github::ApiUrl::default()));
    let (routes, _) = server::router(ApiState::new(manager, settings, github, CancellationToken::new()));
    let caller = Identity::parse(ALICE).expect("an address");
    let request =
        Request::get("/api/sessions/stream").extension(caller).body(Body::empty()).expect("a request");
    let mut body = routes.oneshot(request).await.expect("an answer").into_body().into_data_stream();
    let first = body.next().await.expect("an event").expect("bytes");
    assert!(first.starts_with(b"event: sessions"), "{first:?}");
    for _ in 0..3 {
        let before = Instant::now();
        let heartbeat = body.next().await.expect("a heartbeat").expect("bytes");
        assert_eq!(&heartbeat[..], b":\n\n");
        assert_eq!(before.elapsed(), Duration::from_secs(15));
    }
}

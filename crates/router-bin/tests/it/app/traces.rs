//! What is in traces, what is not, and what a collector that misbehaves can do: nothing.

use std::collections::BTreeSet;

use http::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode as SpanStatus};
use pod_manager::{Failure, FailureCode, memory::FakeOpencode};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{
    TestApp,
    test_app::{ALICE, PASSWORD, PROXY_SECRET},
};
use crate::otlp_collector::{OtlpCollector, attributes};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Starts a router behind a sign-in proxy that sends traces to `endpoint`.
async fn start(endpoint: &str, variables: &[(&str, &str)]) -> TestApp {
    TestApp::start_with(&[&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)], variables].concat()).await
}

/// Asserts that docs/operations.md names each attribute that arrived: it says that there are no others.
fn assert_documented(collector: &OtlpCollector) {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
    let page = std::fs::read_to_string(page).expect("the page");
    for name in collector.spans().iter().flat_map(|span| attributes(&span.attributes).into_keys()) {
        assert!(page.contains(&format!("`{name}`")), "docs/operations.md does not name {name}");
    }
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    attributes(&span.attributes).remove(name)
}

#[tokio::test]
async fn a_requests_span_says_what_was_asked_and_nothing_of_who_asked() {
    let collector = OtlpCollector::start().await;
    let app = start(
        collector.endpoint(),
        &[("OTEL_SERVICE_NAME", "router-of-a-test"), ("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=s%3Decret")],
    )
    .await;
    let hash = app.running_session(ALICE).await;
    let host = format!("{hash}.localhost");
    let response = app
        .request_as(ALICE, Method::POST, &host, "/echo/path-of-the-user?token=query-of-the-user")
        .header("x-auth-request-access-token", "gho_secret")
        .header("authorization", "Bearer of-the-site")
        .header("cookie", "theirs=cookie-of-the-user")
        .header("user-agent", "browser-of-the-user")
        .header("origin", format!("http://{}", app.public_name(&host)))
        .send()
        .await
        .expect("a response");
    let id = response.headers()["x-request-id"].to_str().expect("text").to_owned();
    let status = response.status().as_u16().to_string();
    app.get(ALICE, "localhost", &format!("/api/sessions/{hash}")).await;
    app.get(ALICE, "localhost", "/api/alice@example.org/unknown").await;
    let odd = Method::from_bytes(b"ALICE").expect("a method");
    app.request_as(ALICE, odd, "localhost", "/path-of-the-site").send().await.expect("a response");
    app.shutdown.cancel();

    let span = collector.wait_for(|span| attribute(span, "request.id").as_ref() == Some(&id)).await;
    assert_eq!(span.name, "POST session");
    assert_eq!(span.kind, SpanKind::Server as i32);
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano && span.start_time_unix_nano > 0);
    let expected = [
        ("http.request.method", "POST"),
        ("http.response.status_code", &status),
        ("opencode_router.route", "session"),
        ("request.id", &id),
        ("session.hash", &hash),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(attributes(&span.attributes), expected.into());

    let of_route = async |route: &str| {
        collector.wait_for(|span| attribute(span, "http.route").as_deref() == Some(route)).await
    };
    assert_eq!(of_route("/api/sessions/{hash}").await.name, "GET /api/sessions/{hash}");
    let created = of_route("/api/sessions").await;
    assert_eq!(created.name, "POST /api/sessions");
    assert_eq!(attribute(&created, "session.hash"), Some(hash), "a change names its session");
    collector.wait_for(|span| span.name == "GET api").await;
    collector.wait_for(|span| span.name == "_OTHER site").await;

    let received = collector.received();
    assert_eq!(received[0].headers["x-api-key"], "s=ecret");
    assert_eq!(received[0].resource["service.name"], "router-of-a-test");
    assert_eq!(received[0].resource["service.version"], env!("CARGO_PKG_VERSION"));
    for one in &received {
        for secret in
            ["alice", "ALICE", PROXY_SECRET, PASSWORD, "gho_secret", "of-the-site", "of-the-user", "acme"]
        {
            assert!(!one.text.contains(secret), "{secret} in {}", one.text);
        }
    }
    assert_documented(&collector);
    let metrics = app.metrics().await;
    assert!(!metrics.contains("trace_spans_total{outcome=\"exported\"} 0"), "{metrics}");
    assert!(metrics.contains("trace_spans_total{outcome=\"dropped\"} 0"), "{metrics}");
}

#[tokio::test]
async fn a_start_is_a_trace_with_its_stages_and_a_failure_shows_its_code_alone() {
    let collector = OtlpCollector::start().await;
    let app = start(collector.endpoint(), &[]).await;
    let create = |branch: &'static str| {
        let body = json!({ "repoUrl": "https://git.example.org/acme/widgets", "branch": branch,
            "initialMessage": "the first prompt" });
        app.request_as(ALICE, Method::POST, "localhost", "/api/sessions").json(&body).send()
    };
    let created: Value = create("good").await.expect("a response").json().await.expect("JSON");
    let hash = created["hash"].as_str().expect("a hash").to_owned();
    app.wait_for_state(ALICE, &hash, "running").await;
    let path = format!("/api/sessions/{hash}");
    let stop = app.request_as(ALICE, Method::POST, "localhost", &format!("{path}/stop"));
    stop.send().await.expect("a response");
    app.wait_for_state(ALICE, &hash, "stopped").await;
    app.backend.fail_starts(
        hash.parse().expect("a hash"),
        Some(Failure {
            code: FailureCode::CloneFailed,
            message: "message-of-git".to_owned(),
            advice: "advice".to_owned(),
            log_tail: Some("log-of-git".to_owned()),
        }),
    );
    let resume = app.request_as(ALICE, Method::POST, "localhost", &format!("{path}/resume"));
    resume.send().await.expect("a response");
    app.wait_for_state(ALICE, &hash, "failed").await;
    app.request_as(ALICE, Method::DELETE, "localhost", &path).send().await.expect("a response");

    let of_start = |span: &Span, outcome: &str| {
        span.name == "session start" && attribute(span, "opencode_router.outcome").as_deref() == Some(outcome)
    };
    let start = collector.wait_for(|span| of_start(span, "running")).await;
    assert_eq!(attribute(&start, "session.hash"), Some(hash.clone()));
    let is_stage = |span: &Span| span.trace_id == start.trace_id && span.parent_span_id == start.span_id;
    collector.wait_for(|span| is_stage(span) && span.name == "starting").await;
    let stages: BTreeSet<String> =
        collector.spans().into_iter().filter(is_stage).map(|span| span.name).collect();
    assert_eq!(stages, ["cloning", "starting"].map(str::to_owned).into());
    let open = collector.wait_for(|span| span.name == "session open").await;
    assert_eq!(attribute(&open, "opencode_router.first_prompt").as_deref(), Some("true"));
    let stop = collector.wait_for(|span| span.name == "session stop").await;
    assert_eq!(attribute(&stop, "opencode_router.reason").as_deref(), Some("requested"));
    let failed = collector.wait_for(|span| of_start(span, "clone_failed")).await;
    assert_eq!(failed.status.expect("a status").code, SpanStatus::Error as i32);
    let deleted = collector.wait_for(|span| span.name == "session delete").await;
    assert_eq!(attribute(&deleted, "session.hash"), Some(hash));
    assert_documented(&collector);
    for one in collector.received() {
        for secret in ["alice", "acme", "the first prompt", "of-git", PASSWORD] {
            assert!(!one.text.contains(secret), "{secret} in {}", one.text);
        }
    }
}

#[tokio::test]
async fn only_the_leader_reports_what_happens_to_sessions() {
    let collector = OtlpCollector::start().await;
    let app = start(collector.endpoint(), &[]).await;
    app.opencode.create_conversation("A title");
    app.backend.set_leader(false);
    app.running_session(ALICE).await;
    app.backend.set_leader(true);
    let body = json!({ "repoUrl": "https://git.example.org/acme/widgets", "branch": "second" });
    let create = app.request_as(ALICE, Method::POST, "localhost", "/api/sessions").json(&body);
    let created: Value = create.send().await.expect("a response").json().await.expect("JSON");
    let second = created["hash"].as_str().map(str::to_owned);
    let is_start = |span: &&Span| span.name == "session start";
    // Spans arrive in order, so one of the first start would be here before that of the second.
    collector.wait_for(|span| is_start(&span) && attribute(span, "session.hash") == second).await;
    assert_eq!(collector.spans().iter().filter(is_start).count(), 1);
}

#[tokio::test]
async fn a_trusted_proxys_trace_is_continued_and_goes_no_further() {
    let collector = OtlpCollector::start().await;
    let app = start(collector.endpoint(), &[("OTEL_PROPAGATORS", "tracecontext,baggage")]).await;
    let host = format!("{}.localhost", app.running_session(ALICE).await);
    let with_context = |request: reqwest::RequestBuilder| {
        request
            .header("traceparent", TRACEPARENT)
            .header("tracestate", "vendor=text-of-a-client")
            .header("baggage", "user=text-of-a-client")
    };
    let request = with_context(app.request_as(ALICE, Method::GET, &host, FakeOpencode::ECHO));
    let echoed: Value = request.send().await.expect("a response").json().await.expect("JSON");
    for header in ["traceparent", "tracestate", "baggage"] {
        assert_eq!(echoed["headers"].get(header), None, "{echoed:#}");
    }
    // Without the proxy's secret, nobody's trace is continued.
    let stranger = with_context(app.request(Method::GET, "localhost", "/api/sessions/stranger"));
    assert_eq!(stranger.send().await.expect("a response").status(), StatusCode::UNAUTHORIZED);
    app.shutdown.cancel();

    let span = collector.wait_for(|span| span.name == "GET session").await;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&span.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&span.parent_span_id), "b7ad6b7169203331");
    assert_eq!(span.trace_state, "");
    let unauthorized = |span: &Span| attribute(span, "http.response.status_code").as_deref() == Some("401");
    let stranger = collector.wait_for(unauthorized).await;
    assert_ne!(stranger.trace_id, span.trace_id);
    assert_eq!(stranger.parent_span_id, [0; 0]);
    assert!(collector.received().iter().all(|one| !one.text.contains("text-of-a-client")));
}

#[tokio::test]
async fn by_default_a_trace_context_is_the_sessions_own_and_not_continued() {
    let collector = OtlpCollector::start().await;
    let app = start(collector.endpoint(), &[]).await;
    let host = format!("{}.localhost", app.running_session(ALICE).await);
    let request = app.request_as(ALICE, Method::GET, &host, FakeOpencode::ECHO);
    let echoed = request.header("traceparent", TRACEPARENT).send().await.expect("a response");
    let echoed: Value = echoed.json().await.expect("JSON");
    assert_eq!(echoed["headers"]["traceparent"], TRACEPARENT);
    app.shutdown.cancel();
    let span = collector.wait_for(|span| span.name == "GET session").await;
    assert_eq!(span.parent_span_id, [0; 0]);
}

#[tokio::test]
async fn requests_are_served_while_the_collector_is_down_and_its_return_is_used() {
    let collector = OtlpCollector::start().await;
    collector.set_status(StatusCode::SERVICE_UNAVAILABLE);
    let app = start(collector.endpoint(), &[]).await;
    assert_eq!(app.get(ALICE, "localhost", "/api/sessions").await.status(), StatusCode::OK);
    app.shutdown.cancel();
    let span = collector.wait_for(|span| span.name == "GET /api/sessions").await;
    assert_eq!(app.get(ALICE, "localhost", "/api/sessions").await.status(), StatusCode::OK);
    collector.set_status(StatusCode::OK);
    // The same span arrives again.
    let copies = || collector.spans().into_iter().filter(|other| other.span_id == span.span_id).count();
    let count = copies();
    collector.wait_for(|_| copies() > count).await;
}

#[tokio::test]
async fn a_collector_that_never_ends_its_answer_is_left() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let app = start(&endpoint, &[]).await;
    assert_eq!(app.get(ALICE, "localhost", "/api/sessions").await.status(), StatusCode::OK);
    app.shutdown.cancel();
    let (mut connection, _) = listener.accept().await.expect("a connection");
    let mut head = [0; 16];
    connection.read_exact(&mut head).await.expect("a request");
    assert!(head.starts_with(b"POST /v1/traces "), "{head:?}");
    connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n").await.expect("a head");
    let mut written = 0_usize;
    while connection.write_all(&[b'x'; 64 * 1024]).await.is_ok() {
        written += 1;
        assert!(written < 4096, "the router reads on after {written} times 64 KiB");
    }
    assert_eq!(app.get(ALICE, "localhost", "/api/sessions").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn spans_that_do_not_fit_into_the_queue_are_dropped_and_counted() {
    // A collector that accepts connections and never answers.
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let app = start(&endpoint, &[]).await;
    // One batch is on its way, and 2,048 spans wait.
    for _ in 0..2_700 {
        let response = app.request(Method::GET, "localhost", "/").send().await.expect("a response");
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
    let metrics = app.metrics().await;
    let dropped = metrics
        .lines()
        .find_map(|line| line.strip_prefix("opencode_router_trace_spans_total{outcome=\"dropped\"} "));
    let dropped: usize = dropped.expect("a counter").parse().expect("a number");
    assert!((1..=2_700 - 2_048).contains(&dropped), "{dropped}");
}

#[tokio::test]
async fn without_an_endpoint_nothing_is_traced() {
    let app = TestApp::start().await;
    assert_eq!(app.get(ALICE, "localhost", "/api/sessions").await.status(), StatusCode::OK);
    app.shutdown.cancel();
    let metrics = app.metrics().await;
    for outcome in ["exported", "failed", "dropped"] {
        assert!(metrics.contains(&format!("trace_spans_total{{outcome=\"{outcome}\"}} 0")), "{metrics}");
    }
}

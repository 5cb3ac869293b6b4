//! Traces at the end of the program.

use tokio::net::TcpListener;

use super::TestHome;
use crate::otlp_collector::{OtlpCollector, attributes};

#[tokio::test]
async fn spans_that_wait_are_sent_before_the_router_ends() {
    let collector = OtlpCollector::start().await;
    let home = TestHome::new();
    let mut router = home.start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())]).await;
    let response = router.get("localhost", "/api/sessions").send().await.expect("a response");
    let id = response.headers()["x-request-id"].to_str().expect("text").to_owned();
    router.signal("TERM").await;
    assert_eq!(router.wait_for_exit().await.code(), Some(0), "{:#?}", router.log());
    let spans = collector.spans();
    assert!(
        spans.iter().any(|span| attributes(&span.attributes).get("request.id") == Some(&id)),
        "{spans:#?}"
    );
}

#[tokio::test]
async fn a_collector_that_never_answers_does_not_keep_the_router_from_ending() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let home = TestHome::new();
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("DRAIN_TIMEOUT_SECONDS", "0")];
    let mut router = home.start(&variables).await;
    // More than one batch. The first is sent as soon as it is full.
    for _ in 0..600 {
        router.get("localhost", "/api/sessions").send().await.expect("a response");
    }
    let _first = listener.accept().await.expect("a connection");
    router.signal("TERM").await;
    let mut tries = Vec::new();
    let status = loop {
        tokio::select! {
            connection = listener.accept() => tries.push(connection.expect("a connection")),
            status = router.wait_for_exit() => break status,
        }
    };
    assert_eq!(status.code(), Some(0), "{:#?}", router.log());
    assert_eq!(tries.len(), 1, "the first batch once more; then the time is up");
}

#[tokio::test]
async fn certificate_authorities_are_needed_for_an_https_collector_alone() {
    let collector = OtlpCollector::start().await;
    let home = TestHome::new();
    let none = home.path().join("none");
    let none = none.to_str().expect("text");
    let with = |endpoint| {
        [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("SSL_CERT_FILE", none), ("SSL_CERT_DIR", none)]
    };
    let mut router = home.start(&with(collector.endpoint())).await;
    router.new_session().await;
    router.signal("TERM").await;
    assert_eq!(router.wait_for_exit().await.code(), Some(0), "{:#?}", router.log());
    assert!(!collector.spans().is_empty());

    let (code, output) = home.run(&[], &with("https://127.0.0.1:1")).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("no certificate authorities") && output.contains("SSL_CERT_FILE"), "{output}");
}

//! Traces at the end of the program.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

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
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    let _collector = tokio::spawn(async move {
        let mut connections = Vec::new();
        loop {
            connections.push(listener.accept().await.expect("a connection"));
            count.store(connections.len(), Ordering::Relaxed);
        }
    });
    // More than one batch.
    for _ in 0..600 {
        router.get("localhost", "/api/sessions").send().await.expect("a response");
    }
    let before = accepted.load(Ordering::Relaxed);
    router.signal("TERM").await;
    assert_eq!(router.wait_for_exit().await.code(), Some(0), "{:#?}", router.log());
    // The first batch was tried when the shutdown began, and once more at the end; then time was up.
    let tries = accepted.load(Ordering::Relaxed) - before;
    assert!((1..=2).contains(&tries), "{tries} tries");
}

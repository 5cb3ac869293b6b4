//! A session whose opencode is hostile or broken costs a health check a few kilobytes and one connection.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    super::test_server::{Response, TestServer},
    *,
};

/// What one connection may cost: opencode's answer, and what the kernel and hyper buffer of it.
const MAX_BYTES_OF_A_CONNECTION: usize = 1 << 20;

const LIMIT: Duration = Duration::from_secs(20);
const JSON: &str = "content-type: application/json\r\n";

async fn wait_healthy(address: SocketAddr, password: Option<&Password>) {
    HealthChecks::new().check(address, password).wait_healthy().await;
}

fn hangs() -> Response {
    Response { hang: true, ..Response::default() }
}

fn healthy() -> Response {
    Response::ok("application/json; charset=utf-8", r#"{"healthy":true,"version":"1.18.0"}"#)
}

/// The answer is not healthy, and reading it stays within the bounds.
async fn check_refused(response: Response) {
    let server = TestServer::start(response).await;
    let healthy = timeout(Duration::from_secs(3), wait_healthy(server.address, None)).await;
    assert!(healthy.is_err(), "the answer counts as healthy");
    assert!(server.accepted() > 1, "opencode was asked only {} times", server.accepted());
    // The server sees the end of a connection a little later.
    assert!(server.most_open() <= 2 * MAX_REQUESTS as usize, "{} connections at once", server.most_open());
    assert!(server.most_sent() <= MAX_BYTES_OF_A_CONNECTION, "{} bytes were read", server.most_sent());
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    check_refused(Response::endless(JSON, vec![b' '; 64 * 1024])).await;
}

#[tokio::test]
async fn an_endless_chunked_answer_is_cut_off() {
    let mut chunk = b"10000\r\n".to_vec();
    chunk.resize(chunk.len() + 0x10000, b' ');
    chunk.extend(b"\r\n");
    check_refused(Response::endless(&format!("{JSON}transfer-encoding: chunked\r\n"), chunk)).await;
}

#[tokio::test]
async fn an_answer_in_slow_drips_is_given_up() {
    let drips = Response::endless(JSON, b" ");
    check_refused(Response { pause: Duration::from_millis(10), ..drips }).await;
}

#[tokio::test]
async fn an_endless_head_is_cut_off() {
    let head = Response { head: b"HTTP/1.1 200 OK\r\nx: ".to_vec(), ..Response::default() };
    check_refused(Response { repeat: vec![b'x'; 64 * 1024], ..head }).await;
}

#[tokio::test]
async fn endless_headers_are_cut_off() {
    let head = Response { head: b"HTTP/1.1 200 OK\r\n".to_vec(), ..Response::default() };
    check_refused(Response { repeat: b"x: y\r\n".repeat(1000), ..head }).await;
}

#[tokio::test]
async fn a_page_or_another_content_type_is_not_healthy() {
    check_refused(Response::ok("text/html", r#"{"healthy":true}"#)).await;
    check_refused(Response::ok("application/json", "<!doctype html>")).await;
    check_refused(Response::ok("application/json", r#"{"healthy":false}"#)).await;
}

#[tokio::test]
async fn an_answer_longer_than_the_limit_is_not_healthy() {
    let body = format!(r#"{{"healthy":true,"padding":"{}"}}"#, " ".repeat(MAX_BYTES));
    check_refused(Response::ok("application/json", &body)).await;
}

#[tokio::test]
async fn requests_that_are_never_answered_hold_few_connections() {
    check_refused(hangs()).await;
}

#[tokio::test]
async fn readiness_is_seen_after_requests_that_are_never_answered() {
    let server = TestServer::start_with(|number, _| if number < 3 { hangs() } else { healthy() }).await;
    timeout(LIMIT, wait_healthy(server.address, None)).await.expect("healthy");
}

#[tokio::test]
async fn a_request_begins_while_earlier_ones_hang() {
    let server = TestServer::start_with(|_, open| if open < 4 { hangs() } else { healthy() }).await;
    timeout(LIMIT, wait_healthy(server.address, None)).await.expect("healthy");
}

#[tokio::test]
async fn sessions_that_never_answer_hold_few_connections_and_hold_up_no_other() {
    let checks = HealthChecks { permits: Semaphore::new(6), ..HealthChecks::new() };
    let never = TestServer::start(hangs()).await;
    let ready = TestServer::start(healthy()).await;
    let mut hanging = FuturesUnordered::new();
    for _ in 0..20 {
        hanging.push(async { checks.check(never.address, None).wait_healthy().await });
    }
    let ready = async {
        // All permits are in use.
        while never.accepted() < 12 {
            tokio::task::yield_now().await;
        }
        checks.check(ready.address, None).wait_healthy().await;
    };
    let ready = timeout(LIMIT, ready);
    tokio::select! {
        ready = ready => ready.expect("healthy"),
        _ = hanging.next() => panic!("an answer that was never sent"),
    }
    // The server sees the end of a connection a little later.
    assert!(never.most_open() <= 2 * 6, "{} connections at once", never.most_open());
}

#[tokio::test]
async fn an_opencode_that_answers_without_the_password_is_not_the_session() {
    let server = TestServer::start(Response::ok("application/json", r#"{"healthy":true}"#)).await;
    let password = Password::new("geheim");
    let healthy = timeout(Duration::from_secs(1), wait_healthy(server.address, Some(&password))).await;
    assert!(healthy.is_err(), "it answers strangers");
}

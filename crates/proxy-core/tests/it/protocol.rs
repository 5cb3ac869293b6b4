//! What is accepted as HTTP, and the limits of connections.

use std::time::Duration;

use http_body_util::BodyExt;
use proxy_core::{Body, ServeSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::test_proxy::*;

async fn start_with(settings: ServeSettings) -> TestProxy {
    TestProxy::start_with(raw_session(OK).await.0, Default::default(), settings).await
}

#[tokio::test]
async fn an_ambiguous_request_is_refused_and_its_connection_closed() {
    let proxy = TestProxy::with_response(OK).await;
    let start = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nX-Auth-Request-Email: alice@example.com\r\n");
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: example.org\r\n\r\n";
    for rest in [
        "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        "Transfer-Encoding: gzip\r\n\r\nabcd",
        "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: 4, 5\r\n\r\nabcd",
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "Host: evil.com\r\n\r\n",
        " folded: x\r\n\r\n",
        "Bad Name: x\r\n\r\n",
    ] {
        let response = proxy.send_raw(&format!("{start}{rest}{smuggled}")).await;
        assert!(response.starts_with("HTTP/1.1 400"), "{rest:?}: {response}");
        assert_eq!(response.matches("HTTP/1.1").count(), 1, "{rest:?}: {response}");
    }
}

#[tokio::test]
async fn two_framings_are_detected_after_other_requests_on_the_connection() {
    let proxy = TestProxy::with_response(OK).await;
    let both = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n";
    let decoy = head("POST /", "Transfer-Encoding: chunked\r\n");
    let get = head("GET /", "");
    let bad = head("POST /", both);
    let length = decoy.len();
    for (case, bytes) in [
        ("pipelined", format!("{get}{bad}0\r\n\r\n")),
        ("pipelined twice", format!("{get}{get}{bad}0\r\n\r\n")),
        ("before a decoy", format!("{bad}{length:x}\r\n{decoy}\r\n0\r\n\r\n")),
        ("pipelined, before a decoy", format!("{get}{bad}{length:x}\r\n{decoy}\r\n0\r\n\r\n")),
        (
            "after a decoy",
            format!("{}{decoy}{bad}0\r\n\r\n", head("POST /", &format!("Content-Length: {length}\r\n"))),
        ),
        ("after empty lines", format!("\r\n\r\n{bad}0\r\n\r\n")),
    ] {
        let responses = proxy.send_raw(&bytes).await;
        assert!(responses.contains("HTTP/1.1 400"), "{case}: {responses}");
        assert!(responses.rsplit("HTTP/1.1 ").next().unwrap().starts_with("400"), "{case}: {responses}");
    }
}

#[tokio::test]
async fn consecutive_chunked_requests_are_accepted() {
    let proxy = TestProxy::start(echo_session().await).await;
    let mut client = proxy.connect().await;
    let chunked = head("POST /echo", "Transfer-Encoding: chunked\r\n");
    let sized = head("POST /echo", "Content-Length: 2\r\n");
    for (pieces, echo) in [
        (vec![chunked.as_str(), "2\r\nok\r\n0\r\n\r\n"], "2\r\nok\r\n0\r\n\r\n"),
        (vec![sized.as_str(), "ok"], "ok"),
        (vec![&chunked[..30], &chunked[30..], "2\r\nok\r\n", "0\r\n\r\n"], "2\r\nok\r\n0\r\n\r\n"),
        (vec!["\r\n", chunked.as_str(), "2\r\nok\r\n0\r\n\r\n"], "2\r\nok\r\n0\r\n\r\n"),
    ] {
        for piece in pieces {
            client.write_all(piece.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        let response = within("a response", read_head(&mut client)).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        let mut body = vec![0; echo.len()];
        within("the body", client.read_exact(&mut body)).await.unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), echo);
    }
}

#[tokio::test]
async fn a_malformed_host_is_refused() {
    let proxy = TestProxy::with_response(OK).await;
    for (line, status) in [
        ("", "400"),
        ("Host:\r\n", "400"),
        ("Host: a b\r\n", "400"),
        ("Host: example.org, evil.com\r\n", "400"),
        ("Host: alice@example.org\r\n", "400"),
        ("Host: example.org/x\r\n", "400"),
        ("Host: example.org:99999\r\n", "400"),
        ("Host: [::1\r\n", "400"),
        ("Host: b\u{fc}cher.example.org\r\n", "400"),
        ("Host: [::1]:80\r\n", "421"),
        ("Host: a_b.evil.com\r\n", "421"),
    ] {
        // A malformed request closes its connection even without `Connection: close`.
        let close = if status == "400" { "" } else { "Connection: close\r\n" };
        let response = proxy.send_raw(&format!("GET / HTTP/1.1\r\n{line}{close}\r\n")).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status}")), "{line:?}: {response}");
    }
    let two_hosts = "GET http://evil.com/ HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n";
    let response = proxy.send_raw(two_hosts).await;
    assert!(response.starts_with("HTTP/1.1 400"), "{response}");
}

#[tokio::test]
async fn an_overlong_head_is_refused() {
    let long = "x".repeat(200_000);
    let proxy = TestProxy::with_response(OK).await;
    let response =
        proxy.send_raw(&format!("GET / HTTP/1.1\r\nHost: example.org\r\nX-Long: {long}\r\n\r\n")).await;
    assert!(response.starts_with("HTTP/1.1 431"), "{response}");
}

#[tokio::test]
async fn http2_by_prior_knowledge_is_served() {
    let proxy = TestProxy::with_response(OK).await;
    let mut sender = proxy.connect_http2().await;
    let to_session = http2_request("GET", "/").body(Body::empty()).unwrap();
    let response = within("a response", sender.send_request(to_session)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    let elsewhere = http::Request::get("https://evil.com/").body(Body::empty()).unwrap();
    let response = within("a response", sender.send_request(elsewhere)).await.unwrap();
    assert_eq!(response.status(), 421);
}

#[tokio::test]
async fn an_http2_request_in_pieces_is_forwarded_as_one_http1_request() {
    let (received, mut heads) = tokio::sync::mpsc::unbounded_channel();
    let session = session(move |request: http::Request<hyper::body::Incoming>| {
        received.send(request.headers().clone()).unwrap();
        async { http::Response::new(Body::new(request.into_body())) }
    })
    .await;
    let proxy = TestProxy::start(session).await;
    let mut sender = proxy.connect_http2().await;
    let chunks = futures_util::stream::iter(["one ", "two"].map(|chunk| {
        Ok::<_, proxy_core::BodyError>(http_body::Frame::data(bytes::Bytes::from_static(chunk.as_bytes())))
    }));
    let request = http2_request("POST", "/")
        .header("cookie", "a=1")
        .header("cookie", "_oauth2_proxy=secret")
        .header("cookie", "b=2")
        .body(Body::new(http_body_util::StreamBody::new(chunks)))
        .unwrap();
    let response = within("a response", sender.send_request(request)).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "one two");
    let head = heads.recv().await.unwrap();
    let cookies: Vec<_> = head.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; b=2"]);
    assert_eq!(head["transfer-encoding"], "chunked");
}

#[tokio::test]
async fn a_client_that_sends_no_complete_head_is_disconnected() {
    let settings = ServeSettings::new().with_header_timeout(Duration::from_millis(100));
    let proxy = start_with(settings).await;
    for start in ["", "PRI * HT", "GET / HTTP/1.1\r\nHost: exam"] {
        let response = proxy.send_raw(start).await;
        assert!(response.is_empty() || response.starts_with("HTTP/1.1 408"), "{start:?}: {response}");
    }
}

#[tokio::test]
async fn a_head_limit_below_the_minimum_does_not_panic() {
    let proxy = start_with(ServeSettings::new().with_max_head(10)).await;
    assert_eq!(proxy.get("/").await.status(), 200);
}

#[tokio::test]
async fn a_connection_over_the_limit_waits_until_another_one_ends() {
    let proxy = start_with(ServeSettings::new().with_max_connections(1)).await;
    let mut first = proxy.connect().await;
    first.write_all(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n").await.unwrap();
    read_head(&mut first).await.unwrap();
    let waiting = proxy.spawn_send(get("/"));
    drop(first);
    assert_eq!(waiting.await.unwrap().status(), 200);
}

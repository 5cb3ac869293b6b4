use std::time::Duration;

use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proxy_core::{Body, ServeSettings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::world::*;

async fn world() -> World {
    let (upstream, _heads) = raw_upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    World::before(upstream).await
}

#[tokio::test]
async fn a_request_with_two_meanings_is_refused_and_the_connection_closed() {
    let world = world().await;
    let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nX-Auth-Request-Email: alice@example.com\r\n");
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: example.org\r\n\r\n";
    for framing in [
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
        let answer = world.raw(&format!("{head}{framing}{smuggled}")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{framing:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{framing:?}: {answer}");
    }
}

/// The proof is the same when it is hidden behind other requests, on one connection.
#[tokio::test]
async fn two_framings_are_found_behind_other_requests_too() {
    let world = world().await;
    let head = |line: &str| format!("{line}\r\nHost: {HOST}\r\nX-Auth-Request-Email: alice@example.com\r\n");
    let both = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n";
    let decoy = head("POST / HTTP/1.1") + "Transfer-Encoding: chunked\r\n\r\n";
    let get = head("GET / HTTP/1.1") + "\r\n";
    let bad = head("POST / HTTP/1.1") + both;
    for (what, bytes) in [
        ("pipelined", format!("{get}{bad}0\r\n\r\n")),
        ("pipelined twice", format!("{get}{get}{bad}0\r\n\r\n")),
        ("with a decoy behind", format!("{bad}{:x}\r\n{decoy}\r\n0\r\n\r\n", decoy.len())),
        ("pipelined, with a decoy behind", format!("{get}{bad}{:x}\r\n{decoy}\r\n0\r\n\r\n", decoy.len())),
        (
            "with a decoy before",
            format!(
                "{}Content-Length: {}\r\n\r\n{decoy}{bad}0\r\n\r\n",
                head("POST / HTTP/1.1"),
                decoy.len()
            ),
        ),
        ("after empty lines", format!("\r\n\r\n{bad}0\r\n\r\n")),
    ] {
        let answer = world.raw(&bytes).await;
        assert!(answer.contains("HTTP/1.1 400"), "{what}: {answer}");
        assert!(answer.rsplit("HTTP/1.1 ").next().unwrap().starts_with("400"), "{what}: {answer}");
    }
}

#[tokio::test]
async fn chunked_requests_one_after_the_other_are_taken() {
    let upstream = upstream(|request| async { http::Response::new(Body::from(request.into_body())) }).await;
    let world = World::before(upstream).await;
    let mut stream = TcpStream::connect(world.proxy).await.unwrap();
    let head = |framing: &str| {
        format!(
            "POST /echo HTTP/1.1\r\nHost: {HOST}\r\nX-Auth-Request-Email: alice@example.com\r\n{framing}\r\n\r\n"
        )
    };
    let chunked = head("Transfer-Encoding: chunked");
    let long = head("Content-Length: 2");
    for (pieces, echo) in [
        (vec![chunked.as_str(), "2\r\nok\r\n0\r\n\r\n"], "2\r\nok\r\n0\r\n\r\n"),
        (vec![long.as_str(), "ok"], "ok"),
        (vec![&chunked[..30], &chunked[30..], "2\r\nok\r\n", "0\r\n\r\n"], "2\r\nok\r\n0\r\n\r\n"),
        (vec!["\r\n", chunked.as_str(), "2\r\nok\r\n0\r\n\r\n"], "2\r\nok\r\n0\r\n\r\n"),
    ] {
        for piece in pieces {
            stream.write_all(piece.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        let answer = within("an answer", read_head(&mut stream)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let mut body = vec![0; echo.len()];
        within("the body", stream.read_exact(&mut body)).await.unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), echo);
    }
}

#[tokio::test]
async fn a_bad_host_is_refused() {
    let world = world().await;
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
        // What can't be understood closes the connection by itself.
        let close = if status == "400" { "" } else { "Connection: close\r\n" };
        let answer = world.raw(&format!("GET / HTTP/1.1\r\n{line}{close}\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{line:?}: {answer}");
    }
    let answer =
        world.raw("GET http://evil.com/ HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn an_overlong_head_is_refused() {
    let long = "x".repeat(200_000);
    let mut stream = TcpStream::connect(world().await.proxy).await.unwrap();
    let _ = stream
        .write_all(format!("GET / HTTP/1.1\r\nHost: example.org\r\nX-Long: {long}\r\n\r\n").as_bytes())
        .await;
    // The answer may be overtaken by the reset that what was not read causes; it is never a success.
    let mut answer = Vec::new();
    let _ = within("the connection's end", stream.read_to_end(&mut answer)).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn http2_by_prior_knowledge_is_served() {
    let world = world().await;
    let stream = TcpStream::connect(world.proxy).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let ask = |uri: String| {
        http::Request::get(uri)
            .header("x-auth-request-email", "alice@example.com")
            .body(Body::empty())
            .unwrap()
    };
    let response = within("an answer", sender.send_request(ask(format!("https://{HOST}/")))).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    let response = within("an answer", sender.send_request(ask("https://evil.com/".into()))).await.unwrap();
    assert_eq!(response.status(), 421);
}

#[tokio::test]
async fn what_http2_cuts_up_is_whole_for_a_server_of_http1() {
    let (tell, mut heads) = tokio::sync::mpsc::unbounded_channel();
    let upstream = upstream(move |request: http::Request<hyper::body::Incoming>| {
        tell.send(request.headers().clone()).unwrap();
        async { http::Response::new(Body::from(request.into_body())) }
    })
    .await;
    let world = World::before(upstream).await;
    let stream = TcpStream::connect(world.proxy).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let pieces = futures_util::stream::iter(["one ", "two"].map(|piece| {
        Ok::<_, proxy_core::BodyError>(http_body::Frame::data(bytes::Bytes::from_static(piece.as_bytes())))
    }));
    let request = http::Request::post(format!("https://{HOST}/"))
        .header("x-auth-request-email", "alice@example.com")
        .header("cookie", "a=1")
        .header("cookie", "_oauth2_proxy=secret")
        .header("cookie", "b=2")
        .body(Body::new(http_body_util::StreamBody::new(pieces)))
        .unwrap();
    let response = within("an answer", sender.send_request(request)).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "one two");
    let head = heads.recv().await.unwrap();
    let cookies: Vec<_> = head.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; b=2"]);
    assert_eq!(head["transfer-encoding"], "chunked");
}

#[tokio::test]
async fn a_client_that_sends_nothing_or_stops_half_way_is_let_go() {
    let (upstream, _heads) = raw_upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let settings = ServeSettings { header_timeout: Duration::from_millis(100), ..Default::default() };
    let world = World::with(upstream, Default::default(), settings).await;
    for start in ["", "PRI * HT", "GET / HTTP/1.1\r\nHost: exam"] {
        let answer = world.raw(start).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{start:?}: {answer}");
    }
}

#[tokio::test]
async fn a_head_limit_below_what_http_needs_is_no_panic() {
    let (upstream, _heads) = raw_upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let settings = ServeSettings { max_head: 10, ..Default::default() };
    let world = World::with(upstream, Default::default(), settings).await;
    assert_eq!(world.get("/").await.status(), 200);
}

#[tokio::test]
async fn a_connection_too_many_waits_until_there_is_a_place() {
    let (upstream, _heads) = raw_upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let settings = ServeSettings { max_connections: 1, ..Default::default() };
    let world = World::with(upstream, Default::default(), settings).await;
    let mut first = TcpStream::connect(world.proxy).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n").await.unwrap();
    read_head(&mut first).await.unwrap();
    let waiting = tokio::spawn(send_to(world.proxy, get("/")));
    drop(first);
    assert_eq!(waiting.await.unwrap().status(), 200);
}

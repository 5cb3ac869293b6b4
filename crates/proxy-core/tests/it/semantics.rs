//! What HTTP says of messages holds from end to end: what has a body, where it ends, and what may come before
//! and after it.

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use proxy_core::{Body, BodyError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::test_proxy::*;

/// Reads exactly this text.
async fn expect(stream: &mut TcpStream, expected: &str) {
    let mut received = vec![0; expected.len()];
    within(expected, stream.read_exact(&mut received)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&received), expected);
}

/// Reads a head. Returns its lines in lower case.
async fn lines(stream: &mut TcpStream) -> Vec<String> {
    let head = within("a head", read_head(stream)).await.expect("the connection is open");
    head.lines().map(str::to_lowercase).collect()
}

#[tokio::test]
async fn a_response_without_a_body_ends_with_its_head() {
    for (method, response, status, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "200", Some("5")),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "200", None),
        ("HEAD", "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n", "404", Some("9")),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", "204", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n", "304", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "304", None),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200", Some("0")),
        ("DELETE", "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", "205", Some("0")),
    ] {
        let (proxy, listener) = TestProxy::with_listener().await;
        let mut client = proxy.connect().await;
        // The second request shows that both connections go on where they should.
        client.write_all(head(&format!("{method} /one"), "").as_bytes()).await.unwrap();
        let (mut session, _) = accept_request(&listener).await;
        session.write_all(response.as_bytes()).await.unwrap();
        let received = lines(&mut client).await;
        assert!(received[0].starts_with(&format!("http/1.1 {status}")), "{response:?}: {received:?}");
        let content_length = received.iter().find_map(|line| line.strip_prefix("content-length: "));
        if status != "304" {
            assert_eq!(content_length, length, "{response:?}: {received:?}");
        }
        client.write_all(head("GET /two", "").as_bytes()).await.unwrap();
        let second = within("the second request", read_head(&mut session)).await.unwrap();
        assert!(second.starts_with("GET /two"), "{response:?}: {second}");
        session.write_all(OK.as_bytes()).await.unwrap();
        let received = lines(&mut client).await;
        assert!(received[0].starts_with("http/1.1 200"), "{response:?}: {received:?}");
        expect(&mut client, "ok").await;
    }
}

#[tokio::test]
async fn interim_responses_do_not_disturb_the_final_one() {
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nSet-Cookie: a=1; Domain=example.org\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let proxy = TestProxy::with_response(format!("{interim}{OK}").leak()).await;
        for _ in 0..2 {
            let response = proxy.get("/").await;
            assert_eq!(response.status(), 200, "{interim:?}");
            assert!(!response.headers().contains_key("set-cookie"), "{interim:?}");
            assert_eq!(text(response).await, "ok");
        }
        let mut http2 = proxy.connect_http2().await;
        let request = http2_request("GET", "/").body(Body::empty()).unwrap();
        let response = within("a response", http2.send_request(request)).await.unwrap();
        assert_eq!(text(response).await, "ok");
    }
}

#[tokio::test]
async fn an_expectation_is_met_only_once_the_session_reads() {
    for (answer, client_sees) in [
        ("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n", "http/1.1 417"),
        ("HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "http/1.1 413"),
    ] {
        let (proxy, listener) = TestProxy::with_listener().await;
        let mut client = proxy.connect().await;
        let expecting = head("POST /", "Expect: 100-continue\r\nContent-Length: 4\r\n");
        client.write_all(expecting.as_bytes()).await.unwrap();
        let (mut session, request) = accept_request(&listener).await;
        assert!(request.to_lowercase().contains("content-length: 4"), "{request}");
        session.write_all(answer.as_bytes()).await.unwrap();
        let mut received = lines(&mut client).await;
        if received[0].starts_with("http/1.1 100") {
            received = lines(&mut client).await;
        }
        assert!(received[0].starts_with(client_sees), "{received:?}");
        // The upload that was never sent is not taken for the next request's.
        drop(client);
        let mut rest = Vec::new();
        let _ = within("the connection's end", session.read_to_end(&mut rest)).await;
        assert_eq!(rest, b"");
    }
}

#[tokio::test]
async fn http_1_0_is_served_with_and_without_keep_alive() {
    let sized = OK;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n";
    let until_end = "HTTP/1.0 200 OK\r\n\r\nok";
    for (response, keep_alive, stays_open) in [
        (sized, true, true),
        (sized, false, false),
        // HTTP/1.0 knows no chunks, so the body ends with the connection.
        (chunked, true, false),
        (chunked, false, false),
        (until_end, true, false),
        (until_end, false, false),
    ] {
        let session = serve_connections(move |mut stream| async move {
            while read_head(&mut stream).await.is_some() {
                let _ = stream.write_all(response.as_bytes()).await;
                if response == until_end {
                    return;
                }
            }
        })
        .await;
        let proxy = TestProxy::start(session).await;
        let case = format!("{response:?}, keep-alive: {keep_alive}");
        let lines = if keep_alive { "Connection: keep-alive\r\n" } else { "" };
        let request = head("GET /", lines).replace("HTTP/1.1", "HTTP/1.0");
        let mut client = proxy.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        let received = within("the head", read_head(&mut client)).await.unwrap().to_lowercase();
        assert!(!received.contains("transfer-encoding"), "{case}: {received}");
        expect(&mut client, "ok").await;
        if stays_open {
            assert!(received.contains("connection: keep-alive"), "{case}: {received}");
            client.write_all(request.as_bytes()).await.unwrap();
            assert!(within("a second head", read_head(&mut client)).await.is_some(), "{case}");
        } else {
            let mut rest = Vec::new();
            within("the connection's end", client.read_to_end(&mut rest)).await.unwrap();
            assert_eq!(rest, b"", "{case}");
        }
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let proxy = TestProxy::start(
        session(|request: http::Request<Incoming>| async move {
            let path = request.uri().path().to_owned();
            // The earlier a request came, the longer its response takes.
            for _ in 0..100 / path.len() {
                tokio::task::yield_now().await;
            }
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Response::new(Body::from(format!("{path} {}", String::from_utf8_lossy(&body))))
        })
        .await,
    )
    .await;
    let requests = [
        head("GET /1", ""),
        head("POST /22", "Content-Length: 3\r\n") + "two",
        head("POST /333", "Transfer-Encoding: chunked\r\n") + "5\r\nthree\r\n0\r\n\r\n",
        head("GET /4444", "Connection: close\r\n"),
    ];
    // A chunked request whose head came with others is refused (see `HeadRecorder`); alone it is not.
    let sized: String = [&requests[0], &requests[1], &requests[3]].into_iter().cloned().collect();
    let responses = proxy.send_raw(&sized).await;
    let bodies: Vec<_> =
        responses.split("\r\n\r\n").skip(1).map(|rest| rest.split("HTTP/").next().unwrap()).collect();
    assert_eq!(bodies, ["/1 ", "/22 two", "/4444 "], "{responses}");
    let responses = proxy.send_raw(&(requests[2].clone() + &requests[3])).await;
    assert!(responses.contains("/333 three") && responses.contains("/4444 "), "{responses}");
}

/// Fields that a trailer may have, and all that it may not, in either direction.
const TRAILERS: [(&str, bool); 30] = [
    ("x-checksum", true),
    ("content-digest", true),
    ("grpc-status", true),
    ("server-timing", true),
    ("etag", true),
    ("authorization", false),
    ("cookie", false),
    ("set-cookie", false),
    ("host", false),
    ("content-length", false),
    ("content-type", false),
    ("content-encoding", false),
    ("transfer-encoding", false),
    ("connection", false),
    ("upgrade", false),
    ("te", false),
    ("trailer", false),
    ("expect", false),
    ("origin", false),
    ("forwarded", false),
    ("x-forwarded-for", false),
    ("x_forwarded_email", false),
    ("x-auth-request-email", false),
    ("x-auth-request-access-token", false),
    ("remote-user", false),
    ("x-admin-secret", false),
    ("cache-control", false),
    ("access-control-allow-origin", false),
    ("clear-site-data", false),
    ("strict-transport-security", false),
];

/// Returns all trailers as lines, and the value of `Trailer` that announces them.
fn trailer_lines() -> (String, String) {
    let names: Vec<_> = TRAILERS.iter().map(|(name, _)| *name).collect();
    (names.iter().map(|name| format!("{name}: 1\r\n")).collect(), names.join(", "))
}

fn assert_scrubbed(has_trailer: impl Fn(&str) -> bool, sender: &str) {
    for (name, is_kept) in TRAILERS {
        assert_eq!(has_trailer(name), is_kept, "{name} of {sender}");
    }
}

/// Accepts an upload, answers it with all trailers, and returns those of the upload as text.
async fn answer_with_trailers(listener: &tokio::net::TcpListener) -> (TcpStream, String) {
    let (mut session, _) = accept_request(listener).await;
    let upload = within("the upload", read_head(&mut session)).await.unwrap();
    let (lines, names) = trailer_lines();
    let response = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: {names}\r\n\r\n4\r\nbody\r\n0\r\n{lines}\r\n"
    );
    session.write_all(response.as_bytes()).await.unwrap();
    (session, upload.split("\r\n0\r\n").nth(1).unwrap_or_default().to_lowercase())
}

#[tokio::test]
async fn trailers_say_nothing_that_headers_may_not() {
    let (proxy, listener) = TestProxy::with_listener().await;
    let (lines, names) = trailer_lines();
    let mut client = proxy.connect().await;
    let announced = format!("Transfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: {names}\r\n");
    let request = head("POST /", &announced) + "4\r\nbody\r\n0\r\n" + &lines + "\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let (_session, upload) = answer_with_trailers(&listener).await;
    assert_scrubbed(|name| upload.contains(&format!("{name}: 1\r\n")), "the client, over HTTP/1.1");
    read_head(&mut client).await.unwrap();
    let response = within("the response's end", read_head(&mut client)).await.unwrap().to_lowercase();
    let response = response.split("\r\n0\r\n").nth(1).unwrap_or_default();
    assert_scrubbed(|name| response.contains(&format!("{name}: 1\r\n")), "the session, over HTTP/1.1");

    let (proxy, listener) = TestProxy::with_listener().await;
    let mut http2 = proxy.connect_http2().await;
    // HTTP/2 itself forbids these.
    let is_allowed = |name: &str| !["connection", "transfer-encoding", "upgrade", "te"].contains(&name);
    let trailers: HeaderMap = TRAILERS
        .iter()
        .filter(|(name, _)| is_allowed(name))
        .map(|(name, _)| (http::HeaderName::from_static(name), http::HeaderValue::from_static("1")))
        .collect();
    let frames =
        [Ok::<_, BodyError>(Frame::data(Bytes::from_static(b"body"))), Ok(Frame::trailers(trailers))];
    let body = Body::new(StreamBody::new(stream::iter(frames)));
    let request =
        http2_request("POST", "/").header("trailer", names).header("te", "trailers").body(body).unwrap();
    let response = tokio::spawn(http2.send_request(request));
    let (_session, upload) = answer_with_trailers(&listener).await;
    assert_scrubbed(|name| upload.contains(&format!("{name}: 1\r\n")), "the client, over HTTP/2");
    let response = within("a response", response).await.unwrap().unwrap();
    let collected = within("the body", response.into_body().collect()).await.unwrap();
    let trailers = collected.trailers().unwrap();
    assert_scrubbed(|name| trailers.contains_key(name), "the session, over HTTP/2");
}

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use proxy_core::{Body, BodyError, ForwardSettings};
use tokio::{io::AsyncReadExt, net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::world::*;

type Chunk = Result<Frame<Bytes>, BodyError>;

fn body_of(chunks: mpsc::Receiver<Chunk>) -> Body {
    Body::new(StreamBody::new(stream::unfold(chunks, |mut chunks| async {
        chunks.recv().await.map(|chunk| (chunk, chunks))
    })))
}

fn chunk(text: &'static str) -> Chunk {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

#[tokio::test]
async fn events_arrive_one_by_one() {
    let (send, chunks) = mpsc::channel(1);
    let chunks = Arc::new(parking_lot::Mutex::new(Some(chunks)));
    let upstream = upstream(move |_| {
        let body = body_of(chunks.lock().take().unwrap());
        async { Response::new(body) }
    })
    .await;
    let world = World::before(upstream).await;
    let mut body = world.get("/event").await.into_body();
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        send.send(chunk(event)).await.unwrap();
        // The next one is sent only after this one has arrived.
        let frame = within("the event", body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), event);
    }
    drop(send);
    assert!(within("the end", body.frame()).await.is_none());
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_sessions_response() {
    let gone = CancellationToken::new();
    let token = gone.clone();
    let upstream = upstream(move |_| {
        let guard = token.clone().drop_guard();
        async move {
            let endless = stream::repeat_with(|| chunk("data: x\n\n")).map(move |chunk| {
                let _ = &guard;
                chunk
            });
            Response::new(Body::new(StreamBody::new(endless)))
        }
    })
    .await;
    let world = World::before(upstream).await;
    let mut body = world.get("/event").await.into_body();
    within("an event", body.frame()).await.unwrap().unwrap();
    drop(body);
    within("the upstream's end", gone.cancelled()).await;
}

#[tokio::test]
async fn a_client_that_goes_away_before_the_answer_ends_the_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::before(listener.local_addr().unwrap()).await;
    let asking = tokio::spawn(send_to(world.proxy, get("/")));
    let (mut stream, _) = within("a connection", listener.accept()).await.unwrap();
    read_head(&mut stream).await.unwrap();
    asking.abort();
    let mut rest = Vec::new();
    within("the connection's end", stream.read_to_end(&mut rest)).await.unwrap();
}

#[tokio::test]
async fn trailers_pass() {
    let upstream = upstream(|_| async {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-checksum", "1".parse().unwrap());
        let frames: Vec<Chunk> = vec![chunk("x"), Ok(Frame::trailers(trailers))];
        let mut response = Response::new(Body::new(StreamBody::new(stream::iter(frames))));
        response.headers_mut().insert("trailer", "x-checksum".parse().unwrap());
        response
    })
    .await;
    let mut request = get("/");
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    let response = World::before(upstream).await.send(request).await;
    let collected = within("the body", response.into_body().collect()).await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-checksum"], "1");
}

#[tokio::test]
async fn an_answer_may_begin_before_the_upload_has_ended() {
    let upstream = upstream(|request| async { Response::new(Body::from(request.into_body())) }).await;
    let world = World::before(upstream).await;
    let (send, chunks) = mpsc::channel(1);
    send.send(chunk("one")).await.unwrap();
    let mut echo = world.send(request("POST", "/").body(body_of(chunks)).unwrap()).await.into_body();
    assert_eq!(within("an echo", echo.frame()).await.unwrap().unwrap().into_data().unwrap(), "one");
    send.send(chunk("two")).await.unwrap();
    assert_eq!(within("an echo", echo.frame()).await.unwrap().unwrap().into_data().unwrap(), "two");
}

#[tokio::test]
async fn a_slow_reader_holds_the_session_back() {
    let produced = Arc::new(AtomicUsize::new(0));
    let count = produced.clone();
    let upstream = upstream(move |_| {
        let count = count.clone();
        async move {
            let chunks = stream::repeat_with(move || {
                count.fetch_add(65_536, Ordering::Relaxed);
                Ok::<_, BodyError>(Frame::data(Bytes::from_static(&[7; 65_536])))
            });
            Response::new(Body::new(StreamBody::new(chunks)))
        }
    })
    .await;
    let world = World::before(upstream).await;
    let mut body = world.get("/").await.into_body();
    within("a first frame", body.frame()).await.unwrap().unwrap();
    // Nobody reads on: production comes to rest once the sockets are full.
    within("the rest", async {
        let mut last = 0;
        let mut same = 0;
        while same < 20 {
            tokio::time::sleep(Duration::from_millis(25)).await;
            let now = produced.load(Ordering::Relaxed);
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
    })
    .await;
    assert!(
        produced.load(Ordering::Relaxed) < 64 << 20,
        "{} bytes lie somewhere",
        produced.load(Ordering::Relaxed)
    );
}

#[tokio::test]
async fn a_slow_upload_is_not_a_late_answer() {
    let upstream = upstream(|request| async {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(Body::from(body))
    })
    .await;
    let settings = ForwardSettings { header_timeout: Duration::from_millis(500), ..Default::default() };
    let world = World::with(upstream, settings, Default::default()).await;
    let body = StreamBody::new(stream::unfold(0, |count| async move {
        // The pace of a slow line, for longer in all than an answer may take.
        tokio::time::sleep(Duration::from_millis(100)).await;
        (count < 10).then(|| (chunk("x"), count + 1))
    }));
    let response = world.send(request("PUT", "/").body(body).unwrap()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(text(response).await, "xxxxxxxxxx");
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_uploads_ends_the_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::before(listener.local_addr().unwrap()).await;
    let (send, chunks) = mpsc::channel(1);
    send.send(chunk("a part")).await.unwrap();
    let body = body_of(chunks);
    let asking = tokio::spawn(send_to(world.proxy, request("POST", "/").body(body).unwrap()));
    let (mut stream, _) = within("a connection", listener.accept()).await.unwrap();
    read_head(&mut stream).await.unwrap();
    asking.abort();
    let mut rest = Vec::new();
    let _ = within("the connection's end", stream.read_to_end(&mut rest)).await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "an upload cut short was passed off as whole");
}

#[tokio::test]
async fn a_response_cut_short_is_not_passed_off_as_whole() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\npart",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\npart\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let world = World::before(listener.local_addr().unwrap()).await;
        let asking = tokio::spawn(send_to(world.proxy, get("/")));
        let (mut stream, _) = within("a connection", listener.accept()).await.unwrap();
        read_head(&mut stream).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await.unwrap();
        drop(stream);
        let body = asking.await.unwrap().into_body();
        assert!(within("the body's end", body.collect()).await.is_err(), "{answer:?}");
    }
}

#[tokio::test]
async fn a_response_with_two_lengths_has_the_one_of_its_chunks() {
    let (upstream, _heads) = raw_upstream(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    let response = World::before(upstream).await.get("/").await;
    assert!(!response.headers().contains_key("content-length"));
    assert_eq!(text(response).await, "hello");
}

#[tokio::test]
async fn a_body_waits_for_the_word_to_go_on() {
    let upstream = upstream(|request| async { Response::new(Body::from(request.into_body())) }).await;
    let world = World::before(upstream).await;
    let mut stream = tokio::net::TcpStream::connect(world.proxy).await.unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nX-Auth-Request-Email: alice@example.com\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    let word = within("the word", read_head(&mut stream)).await.unwrap();
    assert!(word.starts_with("HTTP/1.1 100"), "{word}");
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"ok").await.unwrap();
    let head = within("an answer", read_head(&mut stream)).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut body = String::new();
    within("the body", stream.read_to_string(&mut body)).await.unwrap();
    assert!(body.contains("ok"), "{body}");
}

/// A client's upload that is no HTTP, or ends before its last chunk.
const MALFORMED_CHUNKS: [&str; 4] =
    ["2\r\nok\r\nzz\r\n", "2\r\nokay\r\n", "-1\r\n\r\n", "fffffffffffffffff\r\n"];

#[tokio::test]
async fn a_malformed_chunked_upload_is_answered_400_and_its_connection_is_not_used_again() {
    for chunks in MALFORMED_CHUNKS {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let world = World::before(listener.local_addr().unwrap()).await;
        // The first answer leaves an idle connection in the pool, which the upload takes.
        let asking = tokio::spawn(send_to(world.proxy, get("/")));
        let (mut first, _) = within("a connection", listener.accept()).await.unwrap();
        read_head(&mut first).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut first, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await
            .unwrap();
        assert_eq!(text(asking.await.unwrap()).await, "ok");

        let head = format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nX-Auth-Request-Email: alice@example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        let answer = world.raw(&format!("{head}{chunks}")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{chunks:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{chunks:?}: {answer}");
        let mut rest = Vec::new();
        within("the upload's end", first.read_to_end(&mut rest)).await.unwrap();
        assert!(rest.is_empty() || rest.starts_with(b"POST"), "{}", String::from_utf8_lossy(&rest));
        assert!(!rest.ends_with(b"0\r\n\r\n"), "an upload cut short was passed off as whole");

        let asking = tokio::spawn(send_to(world.proxy, get("/")));
        let (mut second, _) = within("another connection", listener.accept()).await.unwrap();
        read_head(&mut second).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut second, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await
            .unwrap();
        assert_eq!(text(asking.await.unwrap()).await, "ok");
    }
}

#[tokio::test]
async fn an_http2_upload_that_is_reset_is_never_passed_on_as_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::before(listener.local_addr().unwrap()).await;
    let stream = tokio::net::TcpStream::connect(world.proxy).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let (send, chunks) = mpsc::channel(1);
    send.send(chunk("a part")).await.unwrap();
    let upload = http::Request::post(format!("https://{HOST}/"))
        .header("x-auth-request-email", "alice@example.com")
        .body(body_of(chunks))
        .unwrap();
    let asking = tokio::spawn(sender.send_request(upload));
    let (mut session, _) = within("a connection", listener.accept()).await.unwrap();
    read_head(&mut session).await.unwrap();
    // The client's body fails, so hyper resets the stream.
    send.send(Err("the client's disk failed".into())).await.unwrap();
    let mut rest = Vec::new();
    within("the connection's end", session.read_to_end(&mut rest)).await.unwrap();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "an upload cut short was passed off as whole");
    assert!(within("the stream's end", asking).await.unwrap().is_err());
}

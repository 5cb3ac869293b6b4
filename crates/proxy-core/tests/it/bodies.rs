//! Bodies are streamed in both directions, and end as they ended.

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
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::test_proxy::*;

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
    let (sender, chunks) = mpsc::channel(1);
    let chunks = Arc::new(parking_lot::Mutex::new(Some(chunks)));
    let session = session(move |_| {
        let body = body_of(chunks.lock().take().unwrap());
        async { Response::new(body) }
    })
    .await;
    let proxy = TestProxy::start(session).await;
    let mut body = proxy.get("/event").await.into_body();
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        sender.send(chunk(event)).await.unwrap();
        // The next event is sent only after this one has arrived.
        let frame = within("the event", body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), event);
    }
    drop(sender);
    assert!(within("the stream's end", body.frame()).await.is_none());
}

#[tokio::test]
async fn a_client_that_disconnects_ends_the_sessions_response() {
    let response_dropped = CancellationToken::new();
    let token = response_dropped.clone();
    let session = session(move |_| {
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
    let proxy = TestProxy::start(session).await;
    let mut body = proxy.get("/event").await.into_body();
    within("an event", body.frame()).await.unwrap().unwrap();
    drop(body);
    within("the response's end", response_dropped.cancelled()).await;
}

#[tokio::test]
async fn a_client_that_disconnects_before_the_response_ends_the_request() {
    let (proxy, listener) = TestProxy::with_listener().await;
    let response = proxy.spawn_send(get("/"));
    let (mut session, _) = accept_request(&listener).await;
    response.abort();
    let mut received = Vec::new();
    within("the connection's end", session.read_to_end(&mut received)).await.unwrap();
}

#[tokio::test]
async fn trailers_are_forwarded() {
    let session = session(|_| async {
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
    let response = TestProxy::start(session).await.send(request).await;
    let collected = within("the body", response.into_body().collect()).await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-checksum"], "1");
}

#[tokio::test]
async fn a_response_may_begin_before_the_upload_has_ended() {
    let proxy = TestProxy::start(echo_session().await).await;
    let (sender, chunks) = mpsc::channel(1);
    sender.send(chunk("one")).await.unwrap();
    let mut echo = proxy.send(request("POST", "/").body(body_of(chunks)).unwrap()).await.into_body();
    assert_eq!(within("an echo", echo.frame()).await.unwrap().unwrap().into_data().unwrap(), "one");
    sender.send(chunk("two")).await.unwrap();
    assert_eq!(within("an echo", echo.frame()).await.unwrap().unwrap().into_data().unwrap(), "two");
}

#[tokio::test]
async fn a_slow_reader_slows_the_session_down() {
    let produced = Arc::new(AtomicUsize::new(0));
    let count = produced.clone();
    let session = session(move |_| {
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
    let proxy = TestProxy::start(session).await;
    let mut body = proxy.get("/").await.into_body();
    within("the first frame", body.frame()).await.unwrap().unwrap();
    // Without a reader, the session stops producing once the sockets are full.
    within("the end of production", async {
        let mut last = 0;
        let mut unchanged = 0;
        while unchanged < 20 {
            tokio::time::sleep(Duration::from_millis(25)).await;
            let now = produced.load(Ordering::Relaxed);
            unchanged = if now == last { unchanged + 1 } else { 0 };
            last = now;
        }
    })
    .await;
    let produced = produced.load(Ordering::Relaxed);
    assert!(produced < 64 << 20, "{produced} bytes are buffered");
}

#[tokio::test]
async fn a_slow_upload_does_not_time_out() {
    let session = session(|request| async {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(Body::from(body))
    })
    .await;
    let settings = ForwardSettings { header_timeout: Duration::from_millis(500), ..Default::default() };
    let proxy = TestProxy::start_with(session, settings, Default::default()).await;
    let body = StreamBody::new(stream::unfold(0, |count| async move {
        // Slower in total than a response may be, but never stalled for as long.
        tokio::time::sleep(Duration::from_millis(100)).await;
        (count < 10).then(|| (chunk("x"), count + 1))
    }));
    let response = proxy.send(request("PUT", "/").body(body).unwrap()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(text(response).await, "xxxxxxxxxx");
}

#[tokio::test]
async fn a_client_that_disconnects_during_its_upload_ends_the_request() {
    let (proxy, listener) = TestProxy::with_listener().await;
    let (sender, chunks) = mpsc::channel(1);
    sender.send(chunk("a part")).await.unwrap();
    let response = proxy.spawn_send(request("POST", "/").body(body_of(chunks)).unwrap());
    let (mut session, _) = accept_request(&listener).await;
    response.abort();
    let mut received = Vec::new();
    let _ = within("the connection's end", session.read_to_end(&mut received)).await;
    assert!(!received.ends_with(b"0\r\n\r\n"), "a truncated upload was forwarded as complete");
}

#[tokio::test]
async fn a_truncated_response_is_forwarded_as_truncated() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\npart",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\npart\r\n",
    ] {
        let (proxy, listener) = TestProxy::with_listener().await;
        let received = proxy.spawn_send(get("/"));
        let (mut session, _) = accept_request(&listener).await;
        session.write_all(response.as_bytes()).await.unwrap();
        drop(session);
        let body = received.await.unwrap().into_body();
        assert!(within("the body's end", body.collect()).await.is_err(), "{response:?}");
    }
}

#[tokio::test]
async fn a_response_with_two_lengths_has_the_length_of_its_chunks() {
    let proxy = TestProxy::with_response(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    let response = proxy.get("/").await;
    assert!(!response.headers().contains_key("content-length"));
    assert_eq!(text(response).await, "hello");
}

#[tokio::test]
async fn an_upload_that_expects_100_continue_receives_it() {
    let proxy = TestProxy::start(echo_session().await).await;
    let mut client = proxy.connect().await;
    let lines = "Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n";
    client.write_all(head("POST /", lines).as_bytes()).await.unwrap();
    let interim = within("the interim response", read_head(&mut client)).await.unwrap();
    assert!(interim.starts_with("HTTP/1.1 100"), "{interim}");
    client.write_all(b"ok").await.unwrap();
    let response = within("the response", read_head(&mut client)).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let mut body = String::new();
    within("the body", client.read_to_string(&mut body)).await.unwrap();
    assert!(body.contains("ok"), "{body}");
}

#[tokio::test]
async fn a_malformed_chunked_upload_is_answered_400_and_its_connection_is_not_reused() {
    for chunks in ["2\r\nok\r\nzz\r\n", "2\r\nokay\r\n", "-1\r\n\r\n", "fffffffffffffffff\r\n"] {
        let (proxy, listener) = TestProxy::with_listener().await;
        // The first request leaves an idle connection in the pool, which the upload uses.
        let response = proxy.spawn_send(get("/"));
        let mut first = accept_and_answer(&listener).await;
        assert_eq!(text(response.await.unwrap()).await, "ok");

        let upload = head("POST /", "Transfer-Encoding: chunked\r\n") + chunks;
        let response = proxy.send_raw(&upload).await;
        assert!(response.starts_with("HTTP/1.1 400"), "{chunks:?}: {response}");
        assert_eq!(response.matches("HTTP/1.1").count(), 1, "{chunks:?}: {response}");
        let mut received = Vec::new();
        within("the upload's end", first.read_to_end(&mut received)).await.unwrap();
        assert!(received.is_empty() || received.starts_with(b"POST"), "{received:?}");
        assert!(!received.ends_with(b"0\r\n\r\n"), "a truncated upload was forwarded as complete");

        let response = proxy.spawn_send(get("/"));
        let _second = accept_and_answer(&listener).await;
        assert_eq!(text(response.await.unwrap()).await, "ok");
    }
}

#[tokio::test]
async fn an_http2_upload_that_is_reset_is_forwarded_as_truncated() {
    let (proxy, listener) = TestProxy::with_listener().await;
    let mut sender = proxy.connect_http2().await;
    let (chunks, body) = mpsc::channel(1);
    chunks.send(chunk("a part")).await.unwrap();
    let upload = http2_request("POST", "/").body(body_of(body)).unwrap();
    let response = tokio::spawn(sender.send_request(upload));
    let (mut session, _) = accept_request(&listener).await;
    // The client's body fails, so hyper resets the stream.
    chunks.send(Err("reading the file failed".into())).await.unwrap();
    let mut received = Vec::new();
    within("the connection's end", session.read_to_end(&mut received)).await.unwrap();
    assert!(!received.ends_with(b"0\r\n\r\n"), "a truncated upload was forwarded as complete");
    assert!(within("the stream's end", response).await.unwrap().is_err());
}

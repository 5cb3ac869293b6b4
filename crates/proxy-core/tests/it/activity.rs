use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use proxy_core::{Activity, Body, BodyError};

use crate::world::*;

fn pieces(count: usize) -> StreamBody<impl futures_util::Stream<Item = Result<Frame<Bytes>, BodyError>>> {
    StreamBody::new(stream::iter((0..count).map(|_| Ok(Frame::data(Bytes::from_static(&[7; 16_384]))))))
}

#[tokio::test]
async fn an_upload_and_a_download_are_activity_once_a_second_at_most() {
    let upstream = upstream(|request| async move {
        drop(request.into_body().collect().await);
        Response::new(Body::new(pieces(64)))
    })
    .await;
    let world = World::before(upstream).await;
    let response = world.send(request("POST", "/").body(pieces(64)).unwrap()).await;
    let _ = within("the download", response.into_body().collect()).await.unwrap();
    let touches = world.touches();
    assert_eq!(touches[0], Activity::Request);
    let count = |what| touches.iter().filter(|touch| **touch == what).count();
    assert!((1..=5).contains(&count(Activity::Upload)), "{touches:?}");
    assert!((1..=5).contains(&count(Activity::Download)), "{touches:?}");
}

/// opencode's own page asks by `fetch`, which says `*/*` where an `EventSource` says what it wants.
#[tokio::test]
async fn a_forgotten_tabs_event_stream_is_not_activity() {
    let upstream = upstream(|_| async {
        let mut response = Response::new(Body::new(pieces(8)));
        response.headers_mut().insert("content-type", "text/event-stream; charset=utf-8".parse().unwrap());
        response
    })
    .await;
    let world = World::before(upstream).await;
    for accept in ["text/event-stream", "*/*"] {
        let mut events = get("/event");
        events.headers_mut().insert("accept", accept.parse().unwrap());
        let _ = within("the stream", world.send(events).await.into_body().collect()).await.unwrap();
        assert_eq!(world.touches(), [], "{accept}");
    }
}

#[tokio::test]
async fn a_question_that_the_session_did_not_answer_is_not_activity() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let world = World::before(address).await;
    assert_eq!(world.get("/").await.status(), 502);
    assert_eq!(world.touches(), []);
}

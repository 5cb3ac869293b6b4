//! What counts as activity of a person.

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use proxy_core::{Activity, Body, BodyError};

use crate::test_proxy::*;

fn chunks(count: usize) -> StreamBody<impl futures_util::Stream<Item = Result<Frame<Bytes>, BodyError>>> {
    StreamBody::new(stream::iter((0..count).map(|_| Ok(Frame::data(Bytes::from_static(&[7; 16_384]))))))
}

#[tokio::test]
async fn uploads_and_downloads_are_activity_at_most_once_a_second() {
    let session = session(|request| async move {
        drop(request.into_body().collect().await);
        Response::new(Body::new(chunks(64)))
    })
    .await;
    let proxy = TestProxy::start(session).await;
    let response = proxy.send(request("POST", "/").body(chunks(64)).unwrap()).await;
    let _ = within("the download", response.into_body().collect()).await.unwrap();
    let activities = proxy.activities();
    assert_eq!(activities[0], Activity::Request);
    let count = |kind| activities.iter().filter(|activity| **activity == kind).count();
    assert!((1..=5).contains(&count(Activity::Upload)), "{activities:?}");
    assert!((1..=5).contains(&count(Activity::Download)), "{activities:?}");
}

/// opencode's page uses `fetch`, which sends `Accept: */*` instead of an `EventSource`'s `text/event-stream`.
#[tokio::test]
async fn an_event_stream_is_not_activity() {
    let session = session(|_| async {
        let mut response = Response::new(Body::new(chunks(8)));
        response.headers_mut().insert("content-type", "text/event-stream; charset=utf-8".parse().unwrap());
        response
    })
    .await;
    let proxy = TestProxy::start(session).await;
    for accept in ["text/event-stream", "*/*"] {
        let mut request = get("/event");
        request.headers_mut().insert("accept", accept.parse().unwrap());
        let _ = within("the stream", proxy.send(request).await.into_body().collect()).await.unwrap();
        assert_eq!(proxy.activities(), [], "{accept}");
    }
}

#[tokio::test]
async fn a_get_that_the_session_did_not_answer_is_not_activity() {
    let proxy = TestProxy::start(closed_port().await).await;
    assert_eq!(proxy.get("/").await.status(), 502);
    assert_eq!(proxy.activities(), []);
}

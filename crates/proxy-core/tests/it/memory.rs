//! A gigabyte either way at flat memory. The peers are in this process too, so what is counted is all of them.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use proxy_core::{Body, BodyError};

use crate::world::*;

const GIGABYTE: usize = 1 << 30;
const CHUNK: usize = 64 * 1024;

fn gigabyte() -> StreamBody<impl futures_util::Stream<Item = Result<Frame<Bytes>, BodyError>>> {
    let chunk = Bytes::from(vec![7; CHUNK]);
    StreamBody::new(stream::repeat(chunk).take(GIGABYTE / CHUNK).map(|chunk| Ok(Frame::data(chunk))))
}

/// Reads to the end; how many bytes there were, and how much the process grew meanwhile.
async fn drain(mut body: Incoming) -> (usize, usize) {
    let before = resident();
    let (mut bytes, mut most) = (0, before);
    while let Some(frame) = body.frame().await {
        bytes += frame.unwrap().into_data().unwrap().len();
        if bytes % (64 << 20) < CHUNK {
            most = most.max(resident());
        }
    }
    (bytes, most - before)
}

/// Resident memory in bytes (`man 5 proc`: statm counts pages); 0 where there is no /proc.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_down_and_up_at_flat_memory() {
    let upstream = upstream(|request| async {
        if request.method() == "GET" {
            return Response::new(Body::new(gigabyte()));
        }
        let (bytes, grown) = drain(request.into_body()).await;
        Response::new(Body::from(format!("{bytes} {grown}")))
    })
    .await;
    let world = World::before(upstream).await;
    let (bytes, grown) = drain(world.get("/").await.into_body()).await;
    assert_eq!(bytes, GIGABYTE);
    assert!(grown < 64 << 20, "{grown} bytes more");

    let seen = text(world.send(request("POST", "/").body(gigabyte()).unwrap()).await).await;
    let (bytes, grown) = seen.split_once(' ').unwrap();
    assert_eq!(bytes.parse::<usize>().unwrap(), GIGABYTE);
    assert!(grown.parse::<usize>().unwrap() < 64 << 20, "{grown} bytes more");
}

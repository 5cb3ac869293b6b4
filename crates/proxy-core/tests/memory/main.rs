//! A gigabyte in each direction in constant memory. Client and session run in this process, so their memory
//! counts too. This is a program of its own: the memory of other tests would count as well.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../it/test_proxy.rs"]
mod test_proxy;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use proxy_core::{Body, BodyError};

use crate::test_proxy::*;

const GIGABYTE: usize = 1 << 30;
const CHUNK: usize = 64 * 1024;

fn gigabyte() -> StreamBody<impl futures_util::Stream<Item = Result<Frame<Bytes>, BodyError>>> {
    let chunk = Bytes::from(vec![7; CHUNK]);
    StreamBody::new(stream::repeat(chunk).take(GIGABYTE / CHUNK).map(|chunk| Ok(Frame::data(chunk))))
}

/// Reads the body to its end. Returns its length, and by how many bytes the process grew meanwhile.
async fn drain(mut body: Incoming) -> (usize, usize) {
    let before = resident_memory();
    let (mut bytes, mut peak) = (0, before);
    while let Some(frame) = body.frame().await {
        bytes += frame.unwrap().into_data().unwrap().len();
        if bytes % (64 << 20) < CHUNK {
            peak = peak.max(resident_memory());
        }
    }
    (bytes, peak - before)
}

/// Returns the resident memory in bytes (`man 5 proc`: statm counts pages); 0 without /proc.
fn resident_memory() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_takes_constant_memory_in_both_directions() {
    let session = session(|request| async {
        if request.method() == "GET" {
            return Response::new(Body::new(gigabyte()));
        }
        let (bytes, growth) = drain(request.into_body()).await;
        Response::new(Body::from(format!("{bytes} {growth}")))
    })
    .await;
    let proxy = TestProxy::start(session).await;
    let (bytes, growth) = drain(proxy.get("/").await.into_body()).await;
    assert_eq!(bytes, GIGABYTE);
    assert!(growth < 64 << 20, "grew by {growth} bytes");

    let received = text(proxy.send(request("POST", "/").body(gigabyte()).unwrap()).await).await;
    let (bytes, growth) = received.split_once(' ').unwrap();
    assert_eq!(bytes.parse::<usize>().unwrap(), GIGABYTE);
    assert!(growth.parse::<usize>().unwrap() < 64 << 20, "grew by {growth} bytes");
}

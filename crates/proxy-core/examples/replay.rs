//! A proxy whose event stream survives a lost connection: `cargo run -p proxy-core --example replay`.
//!
//! The upstream counts, one event a second, at any path. The proxy keeps the last hundred events:
//!
//! ```text
//! curl -N http://127.0.0.1:8000/events                        # id: 1, id: 2, …
//! curl -N -H 'Last-Event-ID: 2' http://127.0.0.1:8000/events  # continues with id: 3
//! ```
#![expect(clippy::print_stdout, reason = "the example prints where it listens")]

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use parking_lot::Mutex;
use proxy_core::*;
use tokio::{net::TcpListener, sync::watch};
use tower::{ServiceBuilder, service_fn};

/// How many events are kept.
const KEPT: usize = 100;

/// The events of the only stream: the number of each is its id and its data.
#[derive(Clone)]
struct Counter {
    kept: Arc<Mutex<VecDeque<u64>>>,
    newest: watch::Sender<u64>,
}

impl EventLogs for Counter {
    fn find(&self, request: &RequestHead<'_>) -> Option<Arc<dyn EventLog>> {
        (request.uri.path() == "/events").then(|| Arc::new(self.clone()) as Arc<dyn EventLog>)
    }
}

impl EventLog for Counter {
    fn id_of(&self, data: &[u8]) -> Option<String> {
        String::from_utf8(data.to_vec()).ok()
    }

    fn after(&self, id: &str) -> BoxStream<'static, LoggedEvent> {
        let last = id.parse().ok().filter(|id| self.kept.lock().contains(id));
        let Some(last) = last else { return stream::empty().boxed() };
        let events = stream::unfold((self.kept.clone(), self.newest.subscribe(), last), next);
        events.map(|number: u64| LoggedEvent::new(number.to_string(), number.to_string())).boxed()
    }

    fn resync(&self, _: &str) -> BoxStream<'static, Bytes> {
        stream::iter([Bytes::from_static(b"something was missed; load everything again")]).boxed()
    }
}

type Reader = (Arc<Mutex<VecDeque<u64>>>, watch::Receiver<u64>, u64);

/// Waits for the event after the reader's last one. Ends if it is no longer kept.
async fn next((kept, mut newest, last): Reader) -> Option<(u64, Reader)> {
    newest.wait_for(|newest| *newest > last).await.ok()?;
    let next = last + 1;
    let is_kept = kept.lock().contains(&next);
    is_kept.then_some((next, (kept, newest, next)))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let counter = Counter { kept: Arc::default(), newest: watch::Sender::new(0) };
    let upstream = counter.newest.clone();
    // In a real proxy this is `Forward`, behind `Identify` and `Resolve`.
    let upstream = service_fn(move |_: Request<Body>| {
        let numbers = stream::unfold(upstream.subscribe(), |mut newest| async {
            newest.changed().await.ok()?;
            let number = *newest.borrow_and_update();
            let event = Frame::data(Bytes::from(format!("data: {number}\n\n")));
            Some((Ok::<_, BodyError>(event), newest))
        });
        let mut response = Response::new(Body::new(StreamBody::new(numbers)));
        response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/event-stream"));
        async { Ok::<_, std::convert::Infallible>(response) }
    });
    let layer = ReplayEventsLayer::new(Arc::new(counter.clone())).with_retry(Duration::from_secs(1));
    let stack = ServiceBuilder::new().layer(layer).service(upstream);

    let listener = TcpListener::bind("127.0.0.1:8000").await?;
    println!("http://{}/events", listener.local_addr()?);
    let counting = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let number = *counter.newest.borrow() + 1;
            let mut kept = counter.kept.lock();
            kept.push_back(number);
            if kept.len() > KEPT {
                kept.pop_front();
            }
            drop(kept);
            counter.newest.send_replace(number);
        }
    };
    tokio::select! {
        () = serve(listener, stack, ServeSettings::default(), std::future::pending()) => {}
        () = counting => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(())
}

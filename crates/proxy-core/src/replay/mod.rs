//! `ReplayEvents`: gives events of proxied streams ids, and sends what a client missed once it reconnects.

mod body;
mod catch_up;
mod log;
mod parser;
mod settings;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header};
use http_body::Body as HttpBody;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

pub use self::log::{EventLog, EventLogs, LoggedEvent};
use self::{
    body::{ReplayBody, Start},
    settings::{MAX_ID, Settings},
};
use crate::{
    body::{Body, BodyError},
    headers::is_event_stream,
    request_head::RequestHead,
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Makes [`ReplayEvents`] services.
#[derive(Clone)]
pub struct ReplayEventsLayer {
    logs: Arc<dyn EventLogs>,
    settings: Settings,
}

impl ReplayEventsLayer {
    /// Replays the events of these logs.
    #[must_use]
    pub fn new(logs: Arc<dyn EventLogs>) -> Self {
        Self { logs, settings: Settings::default() }
    }

    /// Tells clients to wait this long before they reconnect, instead of what they wait by default.
    #[must_use]
    pub fn with_retry(mut self, retry: Duration) -> Self {
        self.settings.retry = Some(retry);
        self
    }

    /// Sets the size of the largest event that gets an id, in bytes; 256 KiB by default. Each stream holds
    /// this much memory at most until an event is complete. A larger event is passed on as it arrives, and is
    /// not expected in the log.
    #[must_use]
    pub fn with_max_event(mut self, bytes: usize) -> Self {
        self.settings.max_event = bytes;
        self
    }

    /// Sets how long the log may be behind the session's stream while a client catches up; 5 s by default.
    /// Then the log is given up, and [`EventLog::resync`] used instead.
    #[must_use]
    pub fn with_max_lag(mut self, lag: Duration) -> Self {
        self.settings.max_lag = lag;
        self
    }
}

impl fmt::Debug for ReplayEventsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReplayEventsLayer").field(&self.settings).finish()
    }
}

impl<S> Layer<S> for ReplayEventsLayer {
    type Service = ReplayEvents<S>;

    fn layer(&self, inner: S) -> ReplayEvents<S> {
        ReplayEvents { inner, layer: self.clone() }
    }
}

/// Makes event streams resumable: a client that reconnects gets exactly the events that it missed.
///
/// Which streams those are, the ids of their events and the events themselves are known to [`EventLogs`].
/// Everything else passes unchanged and costs one call of [`EventLogs::find`] for a `GET`.
///
/// - Each event of the log is sent with its id. Browsers' `EventSource`, and programs that follow the same
///   specification, send the last one as `Last-Event-ID` when they reconnect.
/// - A request with `Last-Event-ID` gets the events after that one from the log, in order, and then those of
///   the session's own stream. Each is sent once, no matter which of the two is ahead.
/// - If the log does not have all of them, the client gets [`EventLog::resync`] instead.
/// - A stream ends with an error even if the session ended it properly: programs treat that as a broken
///   connection and reconnect with `Last-Event-ID`, while some forget the id after a proper end.
/// - An event is passed on once its last byte has arrived; comments and events that are not in the log are
///   never delayed by others. While the client does not read, the session's stream is not read either.
/// - A stream whose events have ids of the session's own is passed on unchanged.
///
/// The layer belongs behind [`Resolve`](crate::Resolve), so that only the owner of a session gets its events.
/// Responses' bodies of any type are accepted, and returned as [`Body`].
///
/// ```
/// use std::{convert::Infallible, sync::Arc};
///
/// use bytes::Bytes;
/// use futures_util::{StreamExt, stream::{self, BoxStream}};
/// use http::{Request, Response};
/// use http_body::Frame;
/// use http_body_util::{BodyExt, StreamBody};
/// use proxy_core::*;
/// use tower::{ServiceBuilder, ServiceExt};
///
/// /// The log of a session that said `1`, `2` and `3`. Each event is its own id.
/// struct Counted;
///
/// impl EventLogs for Counted {
///     fn find(&self, request: &RequestHead<'_>) -> Option<Arc<dyn EventLog>> {
///         (request.uri.path() == "/events").then(|| Arc::new(Self) as Arc<dyn EventLog>)
///     }
/// }
///
/// impl EventLog for Counted {
///     fn id_of(&self, data: &[u8]) -> Option<String> {
///         String::from_utf8(data.to_vec()).ok()
///     }
///
///     fn after(&self, id: &str) -> BoxStream<'static, LoggedEvent> {
///         let Some(last) = id.parse().ok().filter(|id| (1..=3).contains(id)) else {
///             return stream::empty().boxed();
///         };
///         let event = |number: i32| LoggedEvent::new(number.to_string(), number.to_string());
///         let missed = (last + 1..=3).map(event);
///         // A real log waits for the events that happen.
///         stream::iter(missed).chain(stream::pending()).boxed()
///     }
///
///     fn resync(&self, _: &str) -> BoxStream<'static, Bytes> {
///         stream::iter([Bytes::from_static(b"load everything again")]).boxed()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// // In a proxy: `Resolve` in front, `Forward` behind.
/// let service = ServiceBuilder::new().layer(ReplayEventsLayer::new(Arc::new(Counted))).service_fn(
///     |_: Request<Body>| async {
///         let quiet = StreamBody::new(stream::pending::<Result<Frame<Bytes>, BodyError>>());
///         let response = Response::builder().header("content-type", "text/event-stream");
///         Ok::<_, Infallible>(response.body(Body::new(quiet)).expect("the header is valid"))
///     },
/// );
///
/// let request = Request::get("/events").header("last-event-id", "2").body(Body::empty())?;
/// let mut events = service.oneshot(request).await?.into_body();
/// let frame = events.frame().await.expect("the stream has not ended").map_err(anyhow::Error::from_boxed)?;
/// assert_eq!(frame.into_data().ok().as_deref(), Some(&b"id: 3\ndata: 3\n\n"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ReplayEvents<S> {
    inner: S,
    layer: ReplayEventsLayer,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for ReplayEvents<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ResB: HttpBody<Data = Bytes, Error: Into<BodyError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Replaying<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let is_get = request.method() == Method::GET;
        let log = if is_get { self.layer.logs.find(&RequestHead::from(&request)) } else { None };
        let stream = log.map(|log| {
            Box::new(Stream { log, start: start(request.headers()), settings: self.layer.settings })
        });
        Replaying { inner: self.inner.call(request), stream }
    }
}

/// Returns how the stream starts for a client that sent these headers.
fn start(headers: &HeaderMap) -> Start {
    let mut ids = headers.get_all(LAST_EVENT_ID).iter();
    let Some(id) = ids.next() else { return Start::Live };
    match id.to_str() {
        Ok(id) if id.len() <= MAX_ID && ids.next().is_none() => Start::After(id.to_owned()),
        _ => Start::Resync,
    }
}

pin_project! {
    /// The future of [`ReplayEvents`].
    pub struct Replaying<F> {
        #[pin]
        inner: F,
        // Boxed because it is rare, and moved with every request's future.
        stream: Option<Box<Stream>>,
    }
}

/// What is known of a stream before the session has answered.
struct Stream {
    log: Arc<dyn EventLog>,
    start: Start,
    settings: Settings,
}

impl<F: fmt::Debug> fmt::Debug for Replaying<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replaying").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<F, ResB, E> Future for Replaying<F>
where
    F: Future<Output = Result<Response<ResB>, E>>,
    ResB: HttpBody<Data = Bytes, Error: Into<BodyError>> + Send + 'static,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(context))?.map(Body::new);
        Poll::Ready(Ok(match this.stream.take() {
            Some(stream) if is_replayable(&response) => {
                let Stream { log, start, settings } = *stream;
                response.map(|body| Body::new(ReplayBody::new(body, log, start, settings)))
            }
            _ => response,
        }))
    }
}

/// Whether lines can be added to the response's body.
fn is_replayable(response: &Response<Body>) -> bool {
    let headers = response.headers();
    response.status() == StatusCode::OK
        && headers.get(header::CONTENT_TYPE).is_some_and(is_event_stream)
        && !headers.contains_key(header::CONTENT_LENGTH)
        && !headers.contains_key(header::CONTENT_ENCODING)
}

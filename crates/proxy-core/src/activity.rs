use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use session_key::{SessionHash, SessionRoute};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Body, BodyError, refusal::Refused};

/// Is told when a person uses a session. Called on the way of every request: it must be quick and never wait.
pub trait RecordActivity: Send + Sync + 'static {
    /// The session was used, now.
    fn touch(&self, hash: SessionHash, what: Activity);
}

/// How a session was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activity {
    /// A request arrived; one that only reads counts once it is answered, unless by an event stream.
    Request,
    /// Bytes of a request's body arrived.
    Upload,
    /// Bytes of a response's body left that is not an event stream.
    Download,
    /// The client sent something through a tunnel: for a WebSocket, a frame that is no control frame.
    Frame,
}

/// Makes [`TrackActivity`] services.
#[derive(Clone)]
pub struct TrackActivityLayer {
    record: Arc<dyn RecordActivity>,
}

impl TrackActivityLayer {
    /// Tells `record`.
    #[must_use]
    pub fn new(record: Arc<dyn RecordActivity>) -> Self {
        Self { record }
    }
}

impl fmt::Debug for TrackActivityLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrackActivityLayer")
    }
}

impl<S> Layer<S> for TrackActivityLayer {
    type Service = TrackActivity<S>;

    fn layer(&self, inner: S) -> TrackActivity<S> {
        TrackActivity { inner, layer: self.clone() }
    }
}

/// Tells a person's use of a session from what its page does by itself.
///
/// A request is activity, and so are uploads, downloads and tunnels for as long as they move. An event stream is
/// not: not its opening, which a forgotten tab repeats for ever (and which a page that uses `fetch` does not announce,
/// so that only the answer tells), and not what the session sends on it. A refusal is not activity, so whatever
/// refuses stands outside of this; [`crate::Forward`]'s own refusals of reads don't count either. Of a body or a
/// tunnel at most one [`RecordActivity::touch`] a second is made.
#[derive(Debug, Clone)]
pub struct TrackActivity<S> {
    inner: S,
    layer: TrackActivityLayer,
}

impl<S> Service<Request<Body>> for TrackActivity<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Tracked<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Some(route) = request.extensions().get::<SessionRoute>() else {
            return Tracked { inner: self.inner.call(request), touch: None };
        };
        let mut tracker = ActivityHandle {
            record: self.layer.record.clone(),
            hash: route.hash,
            what: Activity::Request,
            last: None,
        };
        let upgrade = request.headers().contains_key(header::UPGRADE) || request.method() == Method::CONNECT;
        let reads = matches!(*request.method(), Method::GET | Method::HEAD) && !upgrade;
        if !reads {
            tracker.touch();
        }
        if upgrade {
            request.extensions_mut().insert(tracker.of(Activity::Frame));
        }
        if !request.body().is_end_stream() {
            let touch = tracker.of(Activity::Upload);
            request = request.map(|body| Body::new(ActivityBody { body, touch }));
        }
        Tracked { inner: self.inner.call(request), touch: Some(tracker) }
    }
}

fn is_event_stream(value: &http::HeaderValue) -> bool {
    let kind = value.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

pin_project! {
    /// The future of [`TrackActivity`].
    #[derive(Debug)]
    pub struct Tracked<F> {
        #[pin]
        inner: F,
        touch: Option<ActivityHandle>,
    }
}

impl<F> Future for Tracked<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(response) = ready!(this.inner.poll(context));
        let Some(mut tracker) = this.touch.take() else { return Poll::Ready(Ok(response)) };
        let events = response.headers().get(header::CONTENT_TYPE).is_some_and(is_event_stream);
        if events || response.extensions().get::<Refused>().is_some() {
            return Poll::Ready(Ok(response));
        }
        if tracker.last.is_none() {
            tracker.touch();
        }
        // What comes whole with its head is over before anybody could call it a download.
        if response.body().size_hint().upper().is_some_and(|bytes| bytes <= SMALL) {
            return Poll::Ready(Ok(response));
        }
        let touch = tracker.of(Activity::Download);
        Poll::Ready(Ok(response.map(|body| Body::new(ActivityBody { body, touch }))))
    }
}

/// Bytes; a body up to this long needs no watching.
const SMALL: u64 = 64 * 1024;

/// Tells of one body or tunnel, at most once a second.
#[derive(Clone)]
pub(crate) struct ActivityHandle {
    record: Arc<dyn RecordActivity>,
    hash: SessionHash,
    what: Activity,
    last: Option<Instant>,
}

impl ActivityHandle {
    /// The same for something else.
    fn of(&self, what: Activity) -> Self {
        Self { what, last: None, ..self.clone() }
    }

    pub(crate) fn touch(&mut self) {
        let now = Instant::now();
        if self.last.is_none_or(|last| now - last >= Duration::from_secs(1)) {
            self.last = Some(now);
            self.record.touch(self.hash, self.what);
        }
    }
}

impl fmt::Debug for ActivityHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ActivityHandle").field(&self.what).finish()
    }
}

struct ActivityBody {
    body: Body,
    touch: ActivityHandle,
}

impl HttpBody for ActivityBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if matches!(frame, Some(Ok(_))) {
            self.touch.touch();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

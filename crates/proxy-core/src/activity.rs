//! `TrackActivity`: records when a person uses a session.

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
use tower::{Layer, Service};

use crate::{
    body::{Body, BodyError},
    headers::is_event_stream,
    refusal::Refused,
};

/// Records when a person uses a session. It is called for every request, so it must be fast and never wait.
pub trait RecordActivity: Send + Sync + 'static {
    /// Records that the session is being used.
    fn touch(&self, hash: SessionHash, activity: Activity);
}

/// How a session is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activity {
    /// A request arrived. One that only reads counts when it is answered, unless with an event stream.
    Request,
    /// Bytes of a request's body arrived.
    Upload,
    /// Bytes of a response's body were sent that is not an event stream.
    Download,
    /// The client sent bytes through a tunnel; on a WebSocket, a frame that is not a control frame.
    Frame,
}

/// Makes [`TrackActivity`] services.
#[derive(Clone)]
pub struct TrackActivityLayer {
    record: Arc<dyn RecordActivity>,
}

impl TrackActivityLayer {
    /// Records activity with `record`.
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

/// Records when a person uses a session, as opposed to what its page does by itself.
///
/// Requests are activity, and so are uploads, downloads and tunnels while bytes move. An event stream is not:
/// a forgotten tab opens it again and again, and the session sends on it by itself. A page that uses `fetch`
/// does not announce an event stream, so only the response shows that it is one. A refusal is not activity:
/// layers that refuse requests come before this one, and [`crate::Forward`]'s refusals of reads are ignored.
/// For a body or a tunnel, [`RecordActivity::touch`] is called at most once a second.
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
            return Tracked { inner: self.inner.call(request), activity: None };
        };
        let mut activity = ActivityHandle {
            record: self.layer.record.clone(),
            hash: route.hash,
            kind: Activity::Request,
            last_touch: None,
        };
        let upgrade = request.headers().contains_key(header::UPGRADE) || request.method() == Method::CONNECT;
        let reads = matches!(*request.method(), Method::GET | Method::HEAD) && !upgrade;
        if !reads {
            activity.touch();
        }
        if upgrade {
            request.extensions_mut().insert(activity.for_kind(Activity::Frame));
        }
        if !request.body().is_end_stream() {
            let upload = activity.for_kind(Activity::Upload);
            request = request.map(|body| Body::new(ActivityBody { body, activity: upload }));
        }
        Tracked { inner: self.inner.call(request), activity: Some(activity) }
    }
}

pin_project! {
    /// The future of [`TrackActivity`].
    #[derive(Debug)]
    pub struct Tracked<F> {
        #[pin]
        inner: F,
        activity: Option<ActivityHandle>,
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
        let Some(mut activity) = this.activity.take() else { return Poll::Ready(Ok(response)) };
        let is_event_stream = response.headers().get(header::CONTENT_TYPE).is_some_and(is_event_stream);
        if is_event_stream || response.extensions().get::<Refused>().is_some() {
            return Poll::Ready(Ok(response));
        }
        if activity.last_touch.is_none() {
            activity.touch();
        }
        // A small body arrives with its head, so the request itself is recorded already.
        if response.body().size_hint().upper().is_some_and(|bytes| bytes <= SMALL_BODY) {
            return Poll::Ready(Ok(response));
        }
        let activity = activity.for_kind(Activity::Download);
        Poll::Ready(Ok(response.map(|body| Body::new(ActivityBody { body, activity }))))
    }
}

/// The size, in bytes, up to which a response's body is not tracked.
const SMALL_BODY: u64 = 64 * 1024;

/// Records the activity of one body or tunnel, at most once a second.
#[derive(Clone)]
pub(crate) struct ActivityHandle {
    record: Arc<dyn RecordActivity>,
    hash: SessionHash,
    kind: Activity,
    last_touch: Option<Instant>,
}

impl ActivityHandle {
    /// Returns a handle for another kind of activity in the same session.
    fn for_kind(&self, kind: Activity) -> Self {
        Self { kind, last_touch: None, ..self.clone() }
    }

    pub(crate) fn touch(&mut self) {
        let now = Instant::now();
        if self.last_touch.is_none_or(|last| now - last >= Duration::from_secs(1)) {
            self.last_touch = Some(now);
            self.record.touch(self.hash, self.kind);
        }
    }
}

impl fmt::Debug for ActivityHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ActivityHandle").field(&self.kind).finish()
    }
}

struct ActivityBody {
    body: Body,
    activity: ActivityHandle,
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
            self.activity.touch();
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

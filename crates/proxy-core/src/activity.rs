//! `TrackActivity`: records when a person uses a session.

use std::{
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
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use session_key::SessionRoute;
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::{
    body::{Body, BodyError},
    headers::is_event_stream,
    refusal::Refused,
    route_key::RouteKey,
};

/// Records when a person uses a session. It is called for every request, so it must be fast and never wait.
pub trait RecordActivity<K = SessionRoute>: Send + Sync + 'static {
    /// Records that the session is being used.
    fn touch(&self, route: &K, activity: Activity);
}

impl<K, T: RecordActivity<K> + ?Sized> RecordActivity<K> for Arc<T> {
    fn touch(&self, route: &K, activity: Activity) {
        (**self).touch(route, activity);
    }
}

/// How a session is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
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
pub struct TrackActivityLayer<K = SessionRoute> {
    record: Arc<dyn RecordActivity<K>>,
}

impl<K> TrackActivityLayer<K> {
    /// Records activity with `record`.
    #[must_use]
    pub fn new(record: Arc<dyn RecordActivity<K>>) -> Self {
        Self { record }
    }
}

impl<K> Clone for TrackActivityLayer<K> {
    fn clone(&self) -> Self {
        Self { record: self.record.clone() }
    }
}

impl<K> fmt::Debug for TrackActivityLayer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrackActivityLayer")
    }
}

impl<S, K> Layer<S> for TrackActivityLayer<K> {
    type Service = TrackActivity<S, K>;

    fn layer(&self, inner: S) -> TrackActivity<S, K> {
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
///
/// Bodies of any type are accepted, and passed on as [`Body`].
///
/// ```
/// use std::{convert::Infallible, sync::{Arc, Mutex}, time::Instant};
///
/// use http::{Request, Response};
/// use proxy_core::{Activity, Body, RecordActivity, TrackActivityLayer};
/// use session_key::{SessionRoute, Target};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// /// When a session was used last.
/// #[derive(Default)]
/// struct LastUse(Mutex<Option<Instant>>);
///
/// impl RecordActivity for LastUse {
///     fn touch(&self, _: &SessionRoute, _: Activity) {
///         *self.0.lock().expect("nothing panics with the lock") = Some(Instant::now());
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let last_use = Arc::new(LastUse::default());
/// // In a proxy: `Resolve` in front, `Forward` behind.
/// let service = ServiceBuilder::new()
///     .layer(TrackActivityLayer::new(last_use.clone()))
///     .service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
///
/// let route = SessionRoute { hash: "a48da0606867".parse()?, target: Target::Opencode };
/// service.oneshot(Request::post("/").extension(route).body(Body::empty())?).await?;
/// assert!(last_use.0.lock().expect("nothing panics with the lock").is_some());
/// # Ok(())
/// # }
/// ```
pub struct TrackActivity<S, K = SessionRoute> {
    inner: S,
    layer: TrackActivityLayer<K>,
}

impl<S: Clone, K> Clone for TrackActivity<S, K> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, K> fmt::Debug for TrackActivity<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackActivity").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, K, ReqB, ResB> Service<Request<ReqB>> for TrackActivity<S, K>
where
    S: Service<Request<Body>, Response = Response<ResB>>,
    K: RouteKey,
    ReqB: HttpBody<Data = Bytes, Error: Into<BodyError>> + Send + 'static,
    ResB: HttpBody<Data = Bytes, Error: Into<BodyError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Tracked<S::Future, K>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let mut request = request.map(Body::new);
        let Some(route) = request.extensions().get::<K>() else {
            return Tracked { inner: self.inner.call(request), activity: None };
        };
        let record = self.layer.record.clone();
        let mut activity = RequestActivity { record, route: route.clone(), is_recorded: false };
        let upgrade = request.headers().contains_key(header::UPGRADE) || request.method() == Method::CONNECT;
        let reads = matches!(*request.method(), Method::GET | Method::HEAD) && !upgrade;
        if !reads {
            activity.record();
        }
        if upgrade {
            request.extensions_mut().insert(ActivityHandle::new(activity.for_kind(Activity::Frame)));
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
    pub struct Tracked<F, K = SessionRoute> {
        #[pin]
        inner: F,
        activity: Option<RequestActivity<K>>,
    }
}

impl<F, K> fmt::Debug for Tracked<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tracked")
    }
}

impl<F, K, ResB, E> Future for Tracked<F, K>
where
    F: Future<Output = Result<Response<ResB>, E>>,
    K: RouteKey,
    ResB: HttpBody<Data = Bytes, Error: Into<BodyError>> + Send + 'static,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(context))?.map(Body::new);
        let Some(mut activity) = this.activity.take() else { return Poll::Ready(Ok(response)) };
        let is_event_stream = response.headers().get(header::CONTENT_TYPE).is_some_and(is_event_stream);
        if is_event_stream || response.extensions().get::<Refused>().is_some() {
            return Poll::Ready(Ok(response));
        }
        activity.record();
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

/// Records that a request arrived, once.
struct RequestActivity<K> {
    record: Arc<dyn RecordActivity<K>>,
    route: K,
    is_recorded: bool,
}

impl<K: RouteKey> RequestActivity<K> {
    fn record(&mut self) {
        if !std::mem::replace(&mut self.is_recorded, true) {
            self.record.touch(&self.route, Activity::Request);
        }
    }

    /// Returns a toucher for another kind of activity in the same session.
    fn for_kind(&self, kind: Activity) -> Toucher<K> {
        Toucher { record: self.record.clone(), route: self.route.clone(), kind, last_touch: None }
    }
}

/// Records the activity of one body or tunnel, at most once a second.
struct Toucher<K> {
    record: Arc<dyn RecordActivity<K>>,
    route: K,
    kind: Activity,
    last_touch: Option<Instant>,
}

trait Touch: Send {
    fn touch(&mut self);
}

impl<K: RouteKey> Touch for Toucher<K> {
    fn touch(&mut self) {
        let now = Instant::now();
        if self.last_touch.is_none_or(|last| now - last >= Duration::from_secs(1)) {
            self.last_touch = Some(now);
            self.record.touch(&self.route, self.kind);
        }
    }
}

/// Records the activity of a tunnel: an extension of requests to upgrade, which knows the type of no route.
#[derive(Clone)]
pub(crate) struct ActivityHandle(Arc<Mutex<dyn Touch>>);

impl ActivityHandle {
    fn new<K: RouteKey>(toucher: Toucher<K>) -> Self {
        Self(Arc::new(Mutex::new(toucher)))
    }

    pub(crate) fn touch(&mut self) {
        self.0.lock().touch();
    }
}

impl fmt::Debug for ActivityHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActivityHandle")
    }
}

struct ActivityBody<K> {
    body: Body,
    activity: Toucher<K>,
}

/// Nothing in it is pinned.
impl<K> Unpin for ActivityBody<K> {}

impl<K: RouteKey> HttpBody for ActivityBody<K> {
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

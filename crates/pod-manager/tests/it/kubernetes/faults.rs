//! A layer of a Kubernetes client with which a test injects faults.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::{
    HeaderValue, Request, Response,
    header::{ACCEPT, CONTENT_TYPE},
};
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use parking_lot::Mutex;
use tokio::sync::watch;
use tower::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

const GONE: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version: 1 (2)","reason":"Expired","code":410}"#;
/// The same code as a field of a message.
const GONE_CODE: &[u8] = &[6 << 3, 0x9a, 0x03];
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The faults that a test injects.
pub(crate) struct Faults {
    /// The calls so far, as `POST /api/v1/…/pods`, without queries.
    pub(crate) calls: Mutex<Vec<String>>,
    too_old: Mutex<Option<TooOld>>,
    /// Every open watch expires when this grows.
    expired: watch::Sender<u64>,
    /// Responses to lists are held.
    holds_lists: watch::Sender<bool>,
    /// How many lists were held so far.
    held: watch::Sender<usize>,
    /// Watch events are held.
    holds_events: watch::Sender<bool>,
    /// The API server is asked for JSON, whatever the router accepts.
    json_only: AtomicBool,
    /// When the router is killed.
    crash: Mutex<Option<Crash>>,
    crashed: watch::Sender<bool>,
}

/// How the API server reports that the version of a watch is too old.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TooOld {
    /// By an event, behind a status of 200, as API servers do.
    ByEvent,
    /// By a status of 410, as proxies and some servers do.
    ByStatus,
}

/// At which call the router is killed; watches and lists do not count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crash {
    /// The number of the call, from 1.
    pub(crate) at: usize,
    /// The request arrives, and its response does not.
    pub(crate) arrives: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            calls: Mutex::default(),
            too_old: Mutex::default(),
            expired: watch::Sender::new(0),
            holds_lists: watch::Sender::new(false),
            held: watch::Sender::new(0),
            holds_events: watch::Sender::new(false),
            json_only: AtomicBool::new(false),
            crash: Mutex::default(),
            crashed: watch::Sender::new(false),
        }
    }
}

impl Faults {
    /// Lets every open watch expire, as API servers do: by an event, behind a status of 200.
    pub(crate) fn expire_watches(&self) {
        self.expired.send_modify(|count| *count += 1);
    }

    /// Refuses every watch that would continue at a version.
    pub(crate) fn refuse_watches(&self, how: Option<TooOld>) {
        *self.too_old.lock() = how;
    }

    /// Holds the responses to lists, or releases them.
    pub(crate) fn hold_lists(&self, hold: bool) {
        self.holds_lists.send_replace(hold);
    }

    /// Holds watch events, or releases them.
    pub(crate) fn hold_events(&self, hold: bool) {
        self.holds_events.send_replace(hold);
    }

    /// Answers everything as JSON.
    pub(crate) fn answer_json(&self) {
        self.json_only.store(true, Ordering::SeqCst);
    }

    /// Waits until so many lists are or were held.
    pub(crate) async fn held_lists(&self, count: usize) {
        let _ = self.held.subscribe().wait_for(|held| *held >= count).await;
    }

    /// Answers no call from that one on.
    pub(crate) fn crash(&self, crash: Crash) {
        *self.crash.lock() = Some(crash);
    }

    /// Waits until that call was made.
    pub(crate) async fn crashed(&self) {
        let _ = self.crashed.subscribe().wait_for(|crashed| *crashed).await;
    }

    /// Returns whether this call is answered; the error says whether its request arrives.
    fn survives(&self) -> Result<(), bool> {
        if *self.crashed.borrow() {
            return Err(false);
        }
        let mut crash = self.crash.lock();
        let Some(left) = &mut *crash else { return Ok(()) };
        left.at -= 1;
        if left.at > 0 {
            return Ok(());
        }
        self.crashed.send_replace(true);
        Err(left.arrives)
    }
}

/// The service of the layer.
pub(crate) struct FaultService<S> {
    inner: S,
    faults: Arc<Faults>,
}

impl<S> FaultService<S> {
    pub(crate) fn new(inner: S, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }
}

impl<S, B> Service<Request<Body>> for FaultService<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Answer;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Answer, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if self.faults.json_only.load(Ordering::SeqCst) {
            request.headers_mut().remove(ACCEPT);
        }
        let accept = request.headers().get(ACCEPT).cloned().unwrap_or(JSON);
        let query = request.uri().query().unwrap_or_default();
        let is_watch = query.contains("watch=");
        let is_list = query.contains("sendInitialEvents=") || (!is_watch && query.contains("limit="));
        let path = request.uri().path();
        let verb = match (is_watch, is_list) {
            (true, true) => "LIST",
            (true, false) => "WATCH",
            (false, _) => request.method().as_str(),
        };
        self.faults.calls.lock().push(format!("{verb} {path}"));
        let faults = self.faults.clone();
        let is_step = !is_watch && !is_list && !path.contains("/leases") && !path.ends_with("/log");
        if is_step && let Err(arrives) = faults.survives() {
            let sent = arrives.then(|| self.inner.call(request));
            return async move {
                if let Some(sent) = sent {
                    let _ = sent.await;
                }
                std::future::pending().await
            }
            .boxed();
        }
        if is_watch
            && !is_list
            && let Some(how) = *faults.too_old.lock()
        {
            let (status, content_type, text) = match how {
                TooOld::ByEvent => (200, accept.clone(), expired_event(&accept)),
                TooOld::ByStatus => (410, JSON, Bytes::from(GONE)),
            };
            let body = Full::new(text).map_err(|never| match never {});
            let gone = Response::builder().status(status).header(CONTENT_TYPE, content_type);
            let gone = gone.body(body.boxed_unsync()).expect("a response");
            return std::future::ready(Ok(gone)).boxed();
        }
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await.map_err(Into::into)?;
            if is_list && *faults.holds_lists.borrow() {
                faults.held.send_modify(|held| *held += 1);
                let _ = faults.holds_lists.subscribe().wait_for(|holds| !holds).await;
            }
            let (parts, body) = answer.into_parts();
            let body = body.map_err(Into::into);
            let body =
                if is_watch { expiring(body, &faults, expired_event(&accept)) } else { body.boxed_unsync() };
            Ok(Response::from_parts(parts, body))
        }
        .boxed()
    }
}

/// Returns the event of a watch that expires, in the format that the router accepts.
fn expired_event(accept: &HeaderValue) -> Bytes {
    if accept == JSON {
        return format!("{{\"type\":\"ERROR\",\"object\":{GONE}}}\n").into();
    }
    let reason = field(4, b"Expired");
    let status = [&field(2, b"Failure"), &field(3, b"too old resource version: 1 (2)"), &reason, GONE_CODE];
    let kind = [field(1, b"v1"), field(2, b"Status")].concat();
    let object = [b"k8s\0".to_vec(), field(1, &kind), field(2, &status.concat())].concat();
    let event = [field(1, b"ERROR"), field(2, &field(1, &object))].concat();
    let length = u32::try_from(event.len()).expect("a short event");
    [&length.to_be_bytes()[..], &event].concat().into()
}

/// Returns a field of a message.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    assert!(number < 16 && value.len() < 128, "one byte is enough for each");
    let length = u8::try_from(value.len()).expect("it is short");
    [&[number << 3 | 2, length], value].concat()
}

/// Returns the watch's events until it expires.
fn expiring(
    body: impl HttpBody<Data = Bytes, Error = BoxError> + Send + 'static,
    faults: &Faults,
    last: Bytes,
) -> UnsyncBoxBody<Bytes, BoxError> {
    let mut expired = faults.expired.subscribe();
    let ended = Arc::new(AtomicBool::new(false));
    let end = ended.clone();
    let until = async move {
        if expired.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        end.store(true, Ordering::SeqCst);
    };
    let last = stream::once(async move { ended.load(Ordering::SeqCst).then_some(Ok(last)) });
    let last = last.filter_map(std::future::ready);
    let holds = faults.holds_events.clone();
    let in_time = move |data| {
        let mut holds = holds.subscribe();
        async move {
            let _ = holds.wait_for(|holds| !holds).await;
            data
        }
    };
    let data = body.into_data_stream().then(in_time).take_until(Box::pin(until)).chain(last);
    StreamBody::new(data.map(|data| data.map(Frame::data))).boxed_unsync()
}

//! `Resolve` with a policy that wakes sessions.

use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use proxy_core::*;
use session_key::{Identity, SessionRoute, Target};
use tokio::{
    io::AsyncWriteExt,
    sync::{Notify, watch},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::test_proxy::{HASH, HOST, listen, within};

/// One session that is stopped until somebody wakes it and the test lets it run.
#[derive(Clone)]
struct TestSession {
    runs: watch::Sender<bool>,
    refusal: Arc<Mutex<Option<Refusal>>>,
    woken: Arc<Mutex<Vec<(Target, Until)>>>,
    waiting: Arc<AtomicUsize>,
    /// Notified when a request begins or ends to wait.
    changed: Arc<Notify>,
}

impl TestSession {
    fn new() -> Self {
        Self {
            runs: watch::Sender::new(false),
            refusal: Arc::default(),
            woken: Arc::default(),
            waiting: Arc::default(),
            changed: Arc::default(),
        }
    }

    fn woken(&self) -> Vec<(Target, Until)> {
        self.woken.lock().clone()
    }

    async fn wait_for_waiting(&self, count: usize) {
        within("requests that wait", async {
            loop {
                let changed = self.changed.notified();
                if self.waiting.load(Ordering::SeqCst) == count {
                    return;
                }
                changed.await;
            }
        })
        .await;
    }
}

impl Resolver for TestSession {
    fn resolve(&self, _: &SessionRoute, identity: &Identity) -> Result<Upstream, ResolveError> {
        if identity.email() != "alice@example.com" {
            return Err(ResolveError::NotFound);
        }
        if *self.runs.borrow() {
            return Ok(Upstream::new(([127, 0, 0, 1], 1).into()));
        }
        Err(ResolveError::NotRunning { retry_after: Some(7) })
    }
}

/// A request that waits; dropping it ends the waiting.
struct Place(TestSession);

impl Place {
    fn new(session: &TestSession) -> Self {
        session.waiting.fetch_add(1, Ordering::SeqCst);
        session.changed.notify_waiters();
        Self(session.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}

impl Wake for TestSession {
    fn wake(&self, request: &WakeRequest<'_>, until: Until) -> WakeFuture {
        assert_eq!(request.identity.email(), "alice@example.com");
        self.woken.lock().push((request.route.target, until));
        let (session, refusal) = (self.clone(), self.refusal.lock().clone());
        Box::pin(async move {
            match (refusal, until) {
                (Some(refusal), _) => Err(refusal),
                (None, Until::Started) => Ok(()),
                (None, Until::Running) => {
                    let _place = Place::new(&session);
                    let mut runs = session.runs.subscribe();
                    let _ = runs.wait_for(|runs| *runs).await;
                    Ok(())
                }
            }
        })
    }
}

/// Answers with the method and the body of each request.
async fn echo(request: Request<Body>) -> Result<http::Response<Body>, Infallible> {
    assert!(request.extensions().get::<Upstream>().is_some());
    let method = request.method().clone();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    Ok(http::Response::new(Body::from(format!("{method} {}", String::from_utf8(body.to_vec()).unwrap()))))
}

fn layered(session: &TestSession) -> impl HttpService {
    let resolve = ResolveLayer::new(Arc::new(session.clone())).with_wake(Arc::new(session.clone()));
    resolve.layer(service_fn(echo))
}

trait HttpService:
    Service<Request<Body>, Response = http::Response<Body>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> HttpService for S where
    S: Service<Request<Body>, Response = http::Response<Body>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

fn request_as(user: &str, method: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let route = SessionRoute { hash: HASH.parse().unwrap(), target: Target::Port(5173) };
    let request = request.extension(route).extension(Identity::parse(user).unwrap());
    request.body(body.into()).unwrap()
}

fn request(method: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    request_as("alice@example.com", method, headers, body)
}

const NAVIGATION: &[(&str, &str)] = &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];

#[tokio::test]
async fn a_programs_request_is_held_until_the_session_runs_and_forwarded_as_it_is() {
    let session = TestSession::new();
    let response = tokio::spawn(layered(&session).oneshot(request("POST", &[], "a prompt")));
    session.wait_for_waiting(1).await;
    session.runs.send_replace(true);
    let response = within("the response", response).await.unwrap().unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "POST a prompt");
    assert_eq!(session.woken(), [(Target::Port(5173), Until::Running)]);
}

#[tokio::test]
async fn a_navigation_starts_the_session_and_is_refused_as_not_running() {
    let session = TestSession::new();
    let response = layered(&session).oneshot(request("GET", NAVIGATION, Body::empty())).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(session.woken(), [(Target::Port(5173), Until::Started)]);
}

#[tokio::test]
async fn pages_probes_and_strangers_wake_nothing() {
    let session = TestSession::new();
    for (method, headers) in [
        ("GET", &[("sec-fetch-mode", "cors"), ("sec-fetch-site", "same-origin")][..]),
        ("GET", &[("origin", "https://a48da0606867.example.org"), ("upgrade", "websocket")]),
        ("HEAD", NAVIGATION),
        ("GET", &[("user-agent", "kube-probe/1.37")]),
        ("GET", &[("sec-fetch-mode", "navigate"), ("sec-purpose", "prefetch")]),
    ] {
        let response = layered(&session).oneshot(request(method, headers, Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{method} {headers:?}");
        assert_eq!(response.headers()["retry-after"], "7", "{method} {headers:?}");
    }
    let strangers = request_as("eve@example.com", "GET", &[], Body::empty());
    assert_eq!(layered(&session).oneshot(strangers).await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(session.woken(), []);
}

#[tokio::test]
async fn a_session_that_is_not_started_refuses_with_the_reason() {
    let session = TestSession::new();
    let reason = Reason::new("limit_reached", "Stop a session first.");
    *session.refusal.lock() = Some(Refusal::LimitReached { retry_after: Some(30), reason });
    for headers in [&[][..], NAVIGATION] {
        let response = layered(&session).oneshot(request("GET", headers, Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()["retry-after"], "30");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "Stop a session first.");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    let session = TestSession::new();
    let response = tokio::spawn(layered(&session).oneshot(request("GET", &[], Body::empty())));
    session.wait_for_waiting(1).await;
    response.abort();
    session.wait_for_waiting(0).await;
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place_though_it_sent_a_body() {
    let session = TestSession::new();
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let add_extensions = |mut sent: Request<Body>| {
        let extensions = request("GET", &[], Body::empty()).into_parts().0.extensions;
        sent.extensions_mut().extend(extensions);
        sent
    };
    let service = ServiceBuilder::new().map_request(add_extensions).service(layered(&session));
    let server = tokio::spawn(serve(listener, service, ServeSettings::default(), pending()));
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 12\r\n\r\nfirst ");
    client.write_all(head.as_bytes()).await.unwrap();
    session.wait_for_waiting(1).await;
    // hyper reads one part ahead by itself, and notices no end behind a second one.
    client.write_all(b"second").await.unwrap();
    drop(client);
    session.wait_for_waiting(0).await;
    server.abort();
}

#[tokio::test]
async fn a_long_body_is_forwarded_completely() {
    let session = TestSession::new();
    let body = "0123456789".repeat(100_000);
    let response = tokio::spawn(layered(&session).oneshot(request("PUT", &[], body.clone())));
    session.wait_for_waiting(1).await;
    session.runs.send_replace(true);
    let response = within("the response", response).await.unwrap().unwrap();
    let echoed = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(echoed, format!("PUT {body}"));
}

//! Each layer alone, around a service that says what it was given.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use proxy_core::*;
use session_key::{HostScheme, Identity, SessionHash, SessionRoute, Target};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::world::{HASH, HOST};

/// A policy of one's own: the refusal's name, as a teapot.
struct Teapot;

impl Refusals for Teapot {
    fn refuse(&self, refusal: &Refusal, context: &RefusalContext<'_>) -> Response<Body> {
        let mut response = Response::new(Body::from(format!("{refusal:?} {}", context.uri)));
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    }
}

struct Nobodys;

impl Resolver for Nobodys {
    fn resolve(&self, _: &SessionRoute, who: &Identity) -> Result<Upstream, ResolveError> {
        match who.email() {
            "alice@example.com" => Err(ResolveError::NotRunning { retry_after: None }),
            "carol@example.com" => Ok(Upstream { address: ([127, 0, 0, 1], 1).into(), authorization: None }),
            _ => Err(ResolveError::NotFound),
        }
    }
}

#[derive(Default)]
struct Touches(Mutex<Vec<(SessionHash, Activity)>>);

impl RecordActivity for Touches {
    fn touch(&self, hash: SessionHash, what: Activity) {
        self.0.lock().unwrap().push((hash, what));
    }
}

/// Answers with what layers put into the request's extensions.
async fn given(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let it = request.extensions();
    let told = format!(
        "{:?} {:?} {:?}",
        it.get::<SessionRoute>().map(|route| route.target),
        it.get::<Identity>().map(Identity::email),
        it.get::<Upstream>().map(|upstream| upstream.address),
    );
    Ok(Response::new(Body::from(told)))
}

async fn ask<S>(service: S, request: Request<Body>) -> (u16, String)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let response = service.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn request(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::empty()).unwrap()
}

fn with<T: Clone + Send + Sync + 'static>(mut request: Request<Body>, fact: T) -> Request<Body> {
    request.extensions_mut().insert(fact);
    request
}

fn identity(email: &str) -> Identity {
    Identity::parse(email).unwrap()
}

fn route() -> SessionRoute {
    SessionRoute { hash: HASH.parse().unwrap(), target: Target::Opencode }
}

#[tokio::test]
async fn host_router_says_which_session() {
    let scheme = Arc::new(HostScheme::new("example.org", "-oc", "attach-").unwrap());
    let site = service_fn(|_: Request<Body>| async { Ok(Response::new(Body::from("site"))) });
    let router = HostRouter::new(scheme, service_fn(given), site).with_refusals(Arc::new(Teapot));
    let to = |host: &str| request(&format!("https://{host}/"));
    assert_eq!(ask(router.clone(), to(HOST)).await, (200, "Some(Opencode) None None".into()));
    let port = format!("5173-{HOST}");
    assert_eq!(ask(router.clone(), to(&port)).await, (200, "Some(Port(5173)) None None".into()));
    assert_eq!(ask(router.clone(), to("example.org")).await, (200, "site".into()));
    assert_eq!(ask(router.clone(), to("evil.com")).await, (418, "UnknownHost https://evil.com/".into()));
    let (status, said) = ask(router, request("/nowhere")).await;
    assert!(status == 418 && said.starts_with("Malformed"), "{said}");
}

#[tokio::test]
async fn identify_says_who() {
    let trusted: Arc<dyn IdentityExtractor> =
        Arc::new(TrustedHeaders::from_peers(vec!["127.0.0.0/8".parse().unwrap()]));
    let layer = IdentifyLayer::new(trusted).with_refusals(Arc::new(Teapot));
    let mut alice = with(request("/"), PeerAddr(([127, 0, 0, 1], 1).into()));
    alice.headers_mut().insert("x-auth-request-email", "Alice@example.com".parse().unwrap());
    assert_eq!(
        ask(layer.layer(service_fn(given)), alice).await,
        (200, "None Some(\"alice@example.com\") None".into())
    );
    assert_eq!(
        ask(layer.layer(service_fn(given)), request("/")).await,
        (418, "Unauthenticated(Missing) /".into())
    );
    let fixed = IdentifyLayer::new(Arc::new(FixedIdentity(identity("me@example.com"))));
    assert_eq!(
        ask(fixed.layer(service_fn(given)), request("/")).await,
        (200, "None Some(\"me@example.com\") None".into())
    );
}

#[tokio::test]
async fn resolve_says_where_to() {
    let layer = ResolveLayer::new(Arc::new(Nobodys)).with_refusals(Arc::new(Teapot));
    let ask_as = |email: &str| {
        let request = with(with(request("/"), route()), identity(email));
        ask(layer.layer(service_fn(given)), request)
    };
    assert_eq!(
        ask_as("carol@example.com").await,
        (200, "Some(Opencode) Some(\"carol@example.com\") Some(127.0.0.1:1)".into())
    );
    assert_eq!(ask_as("bob@example.com").await, (418, "NotFound /".into()));
    let (status, said) = ask_as("alice@example.com").await;
    assert!(status == 418 && said.starts_with("NotRunning { hash: a48da0606867"), "{said}");
    // Without a route, or without a user, there is nothing to be found.
    let nowhere = with(request("/"), identity("carol@example.com"));
    assert_eq!(ask(layer.layer(service_fn(given)), nowhere).await, (418, "NotFound /".into()));
    let nobody = with(request("/"), route());
    assert_eq!(ask(layer.layer(service_fn(given)), nobody).await, (418, "NotFound /".into()));
}

#[tokio::test]
async fn serve_refuses_by_the_policy_of_the_embedder() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = ServeSettings { refusals: Arc::new(Teapot), ..Default::default() };
    let _server = tokio::task::JoinSet::from_iter([serve(
        listener,
        service_fn(given),
        settings,
        std::future::pending(),
    )]);
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /x HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n"
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    let head = crate::world::read_head(&mut stream).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 418"), "{head}");
}

#[tokio::test]
async fn same_origin_refuses_by_the_policy_too() {
    let layer = SameOriginLayer::new().with_refusals(Arc::new(Teapot));
    let mut foreign = request("/");
    foreign.headers_mut().insert("host", HOST.parse().unwrap());
    foreign.headers_mut().insert("origin", "https://evil.com".parse().unwrap());
    assert_eq!(ask(layer.layer(service_fn(given)), foreign).await, (418, "CrossOrigin /".into()));
}

#[tokio::test]
async fn track_activity_tells_of_the_session() {
    let touches = Arc::new(Touches::default());
    let layer = TrackActivityLayer::new(touches.clone());
    ask(layer.layer(service_fn(given)), request("/")).await;
    assert!(touches.0.lock().unwrap().is_empty(), "there was no session");
    ask(layer.layer(service_fn(given)), with(request("/"), route())).await;
    assert_eq!(*touches.0.lock().unwrap(), [(HASH.parse().unwrap(), Activity::Request)]);
}

#[tokio::test]
async fn forward_refuses_what_has_nowhere_to_go() {
    let forward = Forward::with_refusals(ForwardSettings::default(), Arc::new(Teapot));
    assert_eq!(ask(forward.clone(), request("/")).await, (418, "NotFound /".into()));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut dead = with(request("/x?y"), Upstream { address: closed, authorization: None });
    dead.headers_mut().insert("host", HOST.parse().unwrap());
    assert_eq!(ask(forward, dead).await, (418, "Unreachable /x?y".into()));
}

#[tokio::test]
async fn forward_alone_passes_one_host_on() {
    let (upstream, mut heads) =
        crate::world::raw_upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let mut two = with(request("/"), Upstream { address: upstream, authorization: None });
    two.headers_mut().insert("host", HOST.parse().unwrap());
    two.headers_mut().append("host", "evil.com".parse().unwrap());
    assert_eq!(ask(Forward::default(), two).await, (200, "ok".into()));
    let head = heads.recv().await.unwrap();
    assert!(head.contains(HOST) && !head.contains("evil"), "{head}");
}

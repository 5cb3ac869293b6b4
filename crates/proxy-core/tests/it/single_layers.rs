//! Each layer by itself, around a service that responds with the extensions it receives.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use proxy_core::*;
use session_key::{HostScheme, Identity, SessionHash, SessionRoute, Target};
use tokio::io::AsyncWriteExt;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::test_proxy::{HASH, HOST, OK, closed_port, head, listen, raw_session, read_head, within};

/// An embedder's policy: responds with the refusal's name, as a teapot.
struct TeapotRefusals;

impl Refusals for TeapotRefusals {
    fn refuse(&self, refusal: &Refusal, context: &RefusalContext<'_>) -> Response<Body> {
        let mut response = Response::new(Body::from(format!("{refusal:?} {}", context.uri)));
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    }
}

/// Alice's session is stopped, carol's is running, others do not exist.
struct TestResolver;

impl Resolver for TestResolver {
    fn resolve(&self, _: &SessionRoute, identity: &Identity) -> Result<Upstream, ResolveError> {
        match identity.email() {
            "alice@example.com" => Err(ResolveError::NotRunning { retry_after: None }),
            "carol@example.com" => Ok(Upstream::new(([127, 0, 0, 1], 1).into())),
            _ => Err(ResolveError::NotFound),
        }
    }
}

#[derive(Default)]
struct Activities(Mutex<Vec<(SessionHash, Activity)>>);

impl RecordActivity for Activities {
    fn touch(&self, route: &SessionRoute, activity: Activity) {
        self.0.lock().unwrap().push((route.hash, activity));
    }
}

/// Responds with the extensions that layers add to the request.
async fn show_extensions(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let extensions = request.extensions();
    let text = format!(
        "{:?} {:?} {:?}",
        extensions.get::<SessionRoute>().map(|route| route.target),
        extensions.get::<Identity>().map(Identity::email),
        extensions.get::<Upstream>().map(|upstream| upstream.address),
    );
    Ok(Response::new(Body::from(text)))
}

async fn call<S>(service: S, request: Request<Body>) -> (u16, String)
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

fn with<T: Clone + Send + Sync + 'static>(mut request: Request<Body>, extension: T) -> Request<Body> {
    request.extensions_mut().insert(extension);
    request
}

fn identity(email: &str) -> Identity {
    Identity::parse(email).unwrap()
}

fn route() -> SessionRoute {
    SessionRoute { hash: HASH.parse().unwrap(), target: Target::Opencode }
}

#[tokio::test]
async fn host_router_routes_by_host_name() {
    let scheme = Arc::new(HostScheme::new("example.org", "-oc", "attach-").unwrap());
    let site = service_fn(|_: Request<Body>| async { Ok(Response::new(Body::from("site"))) });
    let router =
        HostRouter::new(scheme, service_fn(show_extensions), site).with_refusals(Arc::new(TeapotRefusals));
    let to = |host: &str| request(&format!("https://{host}/"));
    assert_eq!(call(router.clone(), to(HOST)).await, (200, "Some(Opencode) None None".into()));
    let port = format!("5173-{HOST}");
    assert_eq!(call(router.clone(), to(&port)).await, (200, "Some(Port(5173)) None None".into()));
    assert_eq!(call(router.clone(), to("example.org")).await, (200, "site".into()));
    assert_eq!(call(router.clone(), to("evil.com")).await, (418, "UnknownHost https://evil.com/".into()));
    let (status, refusal) = call(router, request("/nowhere")).await;
    assert!(status == 418 && refusal.starts_with("Malformed"), "{refusal}");
}

#[tokio::test]
async fn identify_adds_the_identity_or_refuses() {
    let trusted: Arc<dyn IdentityExtractor> =
        Arc::new(TrustedHeaders::from_peers(vec!["127.0.0.0/8".parse().unwrap()]));
    let layer = IdentifyLayer::new(trusted).with_refusals(Arc::new(TeapotRefusals));
    let mut alice = with(request("/"), PeerAddr(([127, 0, 0, 1], 1).into()));
    alice.headers_mut().insert("x-auth-request-email", "Alice@example.com".parse().unwrap());
    assert_eq!(
        call(layer.layer(service_fn(show_extensions)), alice).await,
        (200, "None Some(\"alice@example.com\") None".into())
    );
    assert_eq!(
        call(layer.layer(service_fn(show_extensions)), request("/")).await,
        (418, "Unauthenticated(Missing) /".into())
    );
    let fixed = IdentifyLayer::new(Arc::new(FixedIdentity(identity("me@example.com"))));
    assert_eq!(
        call(fixed.layer(service_fn(show_extensions)), request("/")).await,
        (200, "None Some(\"me@example.com\") None".into())
    );
}

#[tokio::test]
async fn resolve_adds_the_upstream_or_refuses() {
    let layer = ResolveLayer::new(Arc::new(TestResolver)).with_refusals(Arc::new(TeapotRefusals));
    let call_as = |email: &str| {
        let request = with(with(request("/"), route()), identity(email));
        call(layer.layer(service_fn(show_extensions)), request)
    };
    assert_eq!(
        call_as("carol@example.com").await,
        (200, "Some(Opencode) Some(\"carol@example.com\") Some(127.0.0.1:1)".into())
    );
    assert_eq!(call_as("bob@example.com").await, (418, "NotFound /".into()));
    let (status, refusal) = call_as("alice@example.com").await;
    assert!(status == 418 && refusal.starts_with("NotRunning { retry_after: None"), "{refusal}");
    let without_route = with(request("/"), identity("carol@example.com"));
    assert_eq!(
        call(layer.layer(service_fn(show_extensions)), without_route).await,
        (418, "NotFound /".into())
    );
    let without_identity = with(request("/"), route());
    assert_eq!(
        call(layer.layer(service_fn(show_extensions)), without_identity).await,
        (418, "NotFound /".into())
    );
}

#[tokio::test]
async fn serve_refuses_by_the_policy_of_the_embedder() {
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let settings = ServeSettings::new().with_refusals(Arc::new(TeapotRefusals));
    let server = serve(listener, service_fn(show_extensions), settings, std::future::pending());
    let _server = tokio::task::JoinSet::from_iter([server]);
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let ambiguous = head("POST /x", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n");
    stream.write_all(ambiguous.as_bytes()).await.unwrap();
    let response = within("a response", read_head(&mut stream)).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 418"), "{response}");
}

#[tokio::test]
async fn same_origin_refuses_by_the_policy_of_the_embedder() {
    let layer = SameOriginLayer::new().with_refusals(Arc::new(TeapotRefusals));
    let mut cross_origin = request("/");
    cross_origin.headers_mut().insert("host", HOST.parse().unwrap());
    cross_origin.headers_mut().insert("origin", "https://evil.com".parse().unwrap());
    assert_eq!(
        call(layer.layer(service_fn(show_extensions)), cross_origin).await,
        (418, "CrossOrigin /".into())
    );
}

#[tokio::test]
async fn track_activity_records_the_session_of_a_request() {
    let activities = Arc::new(Activities::default());
    let layer = TrackActivityLayer::new(activities.clone());
    call(layer.layer(service_fn(show_extensions)), request("/")).await;
    assert!(activities.0.lock().unwrap().is_empty(), "the request has no session");
    call(layer.layer(service_fn(show_extensions)), with(request("/"), route())).await;
    assert_eq!(*activities.0.lock().unwrap(), [(HASH.parse().unwrap(), Activity::Request)]);
}

#[tokio::test]
async fn forward_refuses_a_request_without_a_reachable_upstream() {
    let forward = Forward::with_refusals(ForwardSettings::default(), Arc::new(TeapotRefusals));
    assert_eq!(call(forward.clone(), request("/")).await, (418, "NotFound /".into()));
    let upstream = Upstream::new(closed_port().await);
    let mut unreachable = with(request("/x?y"), upstream);
    unreachable.headers_mut().insert("host", HOST.parse().unwrap());
    assert_eq!(call(forward, unreachable).await, (418, "Unreachable /x?y".into()));
}

#[tokio::test]
async fn forward_sends_exactly_one_host() {
    let (upstream, mut heads) = raw_session(OK).await;
    let mut two_hosts = with(request("/"), Upstream::new(upstream));
    two_hosts.headers_mut().insert("host", HOST.parse().unwrap());
    two_hosts.headers_mut().append("host", "evil.com".parse().unwrap());
    assert_eq!(call(Forward::default(), two_hosts).await, (200, "ok".into()));
    let head = heads.recv().await.unwrap();
    assert!(head.contains(HOST) && !head.contains("evil"), "{head}");
}

/// Over HTTP/2 a request has an `:authority`, and without `HostRouter` in front nobody makes it a `Host`.
#[tokio::test]
async fn forward_sends_an_authority_as_the_host() {
    let (upstream, mut heads) = raw_session(OK).await;
    let named = |authority: &str| {
        let uri = format!("http://{authority}/x?y");
        with(Request::get(uri).body(Body::empty()).unwrap(), Upstream::new(upstream))
    };
    assert_eq!(call(Forward::default(), named(HOST)).await, (200, "ok".into()));
    let head = heads.recv().await.unwrap();
    assert!(head.starts_with("GET /x?y ") && head.contains(&format!("host: {HOST}\r\n")), "{head}");
    let user = call(Forward::default(), named("me@example.org")).await;
    assert_eq!(user, (400, "the request names no host\n".into()));
}

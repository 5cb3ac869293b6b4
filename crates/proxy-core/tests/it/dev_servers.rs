//! Dev servers: the names in requests and responses, and connections through a connector.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use proxy_core::*;
use tokio::net::TcpStream;
use tower::ServiceExt;

use crate::test_proxy::*;

const DEV_HOST: &str = "5173-a48da0606867-oc.example.org";

fn dev_request(path: &str) -> http::request::Builder {
    Request::get(path)
        .header(header::HOST, DEV_HOST)
        .header("x-auth-request-email", "alice@example.com")
        .header(header::ORIGIN, format!("https://{DEV_HOST}"))
}

#[tokio::test]
async fn a_dev_server_believes_to_be_at_localhost() {
    let (address, mut heads) = raw_session(concat!(
        "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n",
        "Location: http://127.0.0.1:8080/login\r\n",
        "Access-Control-Allow-Origin: http://localhost:1\r\n",
        "Set-Cookie: a=b; Domain=localhost\r\n\r\n",
    ))
    .await;
    let proxy = TestProxy::start(address).await;
    let response = proxy.send(dev_request("/a").body(Empty::<Bytes>::new()).unwrap()).await;
    let head = heads.recv().await.unwrap().to_ascii_lowercase();
    let local = format!("localhost:{}", address.port());
    assert!(head.contains(&format!("\r\nhost: {local}\r\n")), "{head}");
    assert!(head.contains(&format!("\r\norigin: http://{local}\r\n")), "{head}");
    assert!(!head.contains(DEV_HOST) && !head.contains("authorization"), "{head}");
    let headers = response.headers();
    // The test's server listens on another port than its host names, as an embedder's may. Hosts of other
    // ports can't be derived then.
    assert_eq!(headers[header::LOCATION], "http://127.0.0.1:8080/login");
    assert_eq!(headers[header::SET_COOKIE], "a=b");
    assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
}

#[tokio::test]
async fn a_websocket_of_a_dev_server_has_its_local_names() {
    let (proxy, listener) = TestProxy::with_listener().await;
    let request = dev_request("/").header("connection", "upgrade").header("upgrade", "websocket");
    let response = proxy.spawn_send(request.body(Empty::<Bytes>::new()).unwrap());
    let (_session, head) = accept_request(&listener).await;
    let local = format!("localhost:{}", listener.local_addr().unwrap().port());
    let head = head.to_ascii_lowercase();
    assert!(head.contains(&format!("\r\nhost: {local}\r\n")), "{head}");
    assert!(head.contains(&format!("\r\norigin: http://{local}\r\n")), "{head}");
    response.abort();
}

struct CountingConnector {
    address: std::net::SocketAddr,
    opened: AtomicUsize,
}

impl Connector for CountingConnector {
    fn connect(&self) -> Connecting {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let connecting = TcpStream::connect(self.address);
        Box::pin(async { connecting.await.map(Into::into) })
    }
}

#[tokio::test]
async fn a_connector_opens_the_connections_and_they_are_pooled() {
    let (address, _heads) = raw_session(OK).await;
    let connector = Arc::new(CountingConnector { address, opened: AtomicUsize::new(0) });
    let forward = Forward::new(ForwardSettings::default());
    for _ in 0..2 {
        // Nothing listens at this address.
        let upstream = Upstream::new(([127, 0, 0, 1], 1).into()).with_connector(connector.clone());
        let mut request = Request::get("/").header(header::HOST, HOST).body(Body::empty()).unwrap();
        request.extensions_mut().insert(upstream);
        let response: Result<_, Infallible> = forward.clone().oneshot(request).await;
        let body = http_body_util::BodyExt::collect(response.unwrap().into_body()).await.unwrap();
        assert_eq!(body.to_bytes(), "ok");
    }
    assert_eq!(connector.opened.load(Ordering::SeqCst), 1);
}

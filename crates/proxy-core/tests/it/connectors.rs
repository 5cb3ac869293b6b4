//! Upstreams that are reached by other streams than TCP.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::{Request, header};
use http_body_util::BodyExt;
use proxy_core::{Body, Connecting, Connector, Forward, ForwardSettings, Upstream, UpstreamStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, duplex},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName},
    },
};
use tower::ServiceExt;

use crate::test_proxy::*;

/// Serves HTTP on a stream: each request is answered with [`OK`].
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    while read_head(&mut stream).await.is_some() {
        stream.write_all(OK.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
}

/// Sends requests one after the other. They have a body, so none of them may be sent twice.
async fn assert_answered(connector: Arc<dyn Connector>) {
    let forward = Forward::new(ForwardSettings::default());
    for _ in 0..3 {
        // Nothing listens at this address.
        let upstream = Upstream::new(([127, 0, 0, 1], 1).into()).with_connector(connector.clone());
        let mut request = Request::post("/").header(header::HOST, HOST).body(Body::from("body")).unwrap();
        request.extensions_mut().insert(upstream);
        let Ok(response) = within("a response", forward.clone().oneshot(request)).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    }
}

struct UnixSocket(std::path::PathBuf);

impl Connector for UnixSocket {
    fn connect(&self) -> Connecting {
        let connecting = UnixStream::connect(self.0.clone());
        Box::pin(async { connecting.await.map(UpstreamStream::new) })
    }
}

#[tokio::test]
async fn an_upstream_may_listen_on_a_unix_socket() {
    let folder = std::env::temp_dir().join(format!("proxy-core-connectors-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        // One connection is enough for all requests.
        let (stream, _) = listener.accept().await.unwrap();
        answer(stream).await;
    });
    assert_answered(Arc::new(UnixSocket(path))).await;
    std::fs::remove_dir_all(folder).unwrap();
}

struct Tls {
    connector: TlsConnector,
    address: std::net::SocketAddr,
}

impl Connector for Tls {
    fn connect(&self) -> Connecting {
        let (connector, address) = (self.connector.clone(), self.address);
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::try_from("localhost").expect("a name");
            connector.connect(name, stream).await.map(UpstreamStream::new)
        })
    }
}

#[tokio::test]
async fn an_upstream_may_require_tls() {
    let certificate = CertificateDer::from_slice(include_bytes!("tls/localhost.cert.der"));
    let key = PrivatePkcs8KeyDer::from(include_bytes!("tls/localhost.key.der").as_slice());
    let server = ServerConfig::builder().with_no_client_auth();
    let server = server.with_single_cert(vec![certificate.clone()], key.into()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        answer(acceptor.accept(stream).await.unwrap()).await;
    });
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    assert_answered(Arc::new(Tls { connector: TlsConnector::from(Arc::new(client)), address })).await;
}

#[derive(Default)]
struct WithinProcess(AtomicUsize);

impl Connector for WithinProcess {
    fn connect(&self) -> Connecting {
        self.0.fetch_add(1, Ordering::Relaxed);
        let (client, server) = duplex(1024);
        tokio::spawn(answer(server));
        Box::pin(async { Ok(UpstreamStream::new(client)) })
    }
}

#[tokio::test]
async fn an_upstream_may_be_in_the_same_process() {
    let connector = Arc::new(WithinProcess::default());
    assert_answered(connector.clone()).await;
    assert_eq!(connector.0.load(Ordering::Relaxed), 1);
}

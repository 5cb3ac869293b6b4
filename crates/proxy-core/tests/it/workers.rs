//! `Workers`: several threads serve one listener.

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use proxy_core::{Body, ServeSettings, Workers};
use tokio::{
    net::TcpStream,
    sync::{Notify, Semaphore},
    task::JoinHandle,
};
use tower::service_fn;

use crate::test_proxy::*;

/// A server on several workers, whose responses are the numbers of the workers that made them.
struct TestServer {
    address: SocketAddr,
    /// How many responses may be made.
    responses: Arc<Semaphore>,
    /// How many requests were received.
    requests: Arc<AtomicUsize>,
    shutdown: Arc<Notify>,
    server: JoinHandle<()>,
}

impl TestServer {
    async fn start(threads: usize, responses: usize, settings: ServeSettings) -> Self {
        let listener = listen().await;
        let address = listener.local_addr().unwrap();
        let (responses, requests) = (Arc::new(Semaphore::new(responses)), Arc::<AtomicUsize>::default());
        let make_service = {
            let (responses, requests) = (responses.clone(), requests.clone());
            move |worker: usize| {
                assert_eq!(thread::current().name(), Some(&*format!("proxy-{worker}")));
                let (responses, requests) = (responses.clone(), requests.clone());
                service_fn(move |_: Request<Body>| {
                    let (responses, requests) = (responses.clone(), requests.clone());
                    async move {
                        requests.fetch_add(1, Ordering::Relaxed);
                        responses.acquire().await.unwrap().forget();
                        Ok(Response::new(Body::from(worker.to_string())))
                    }
                })
            }
        };
        let shutdown = Arc::new(Notify::new());
        let on_shutdown = shutdown.clone();
        let server = tokio::spawn(async move {
            let workers = Workers::start(NonZeroUsize::new(threads).unwrap()).unwrap();
            workers.serve(listener, make_service, settings, on_shutdown.notified()).await.unwrap();
        });
        Self { address, responses, requests, shutdown, server }
    }
}

/// Opens a connection that is kept alive.
async fn connect(address: SocketAddr) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Sends a request, and returns the number of the worker that answers.
async fn worker_of(connection: &mut SendRequest<Empty<Bytes>>) -> usize {
    let response = within("a response", connection.send_request(get("/"))).await.unwrap();
    text(response).await.parse().unwrap()
}

#[tokio::test]
async fn open_connections_are_spread_evenly_however_long_they_last() {
    let server = TestServer::start(3, 100, ServeSettings::new()).await;
    let mut connections = Vec::new();
    let mut counts = [0; 3];
    for _ in 0..12 {
        let mut connection = connect(server.address).await;
        counts[worker_of(&mut connection).await] += 1;
        connections.push(connection);
    }
    assert_eq!(counts, [4; 3]);
    for connection in &mut connections {
        let worker = worker_of(connection).await;
        assert_eq!(worker, worker_of(connection).await, "a connection stays with its worker");
    }
}

#[tokio::test]
async fn one_drain_waits_for_the_requests_of_all_workers() {
    let mut server = TestServer::start(2, 0, ServeSettings::new()).await;
    let responses: Vec<_> = (0..4).map(|_| tokio::spawn(send_to(server.address, get("/")))).collect();
    within("all requests", async {
        while server.requests.load(Ordering::Relaxed) < responses.len() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    server.shutdown.notify_one();
    within("the refusal of new connections", async {
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!server.server.is_finished());
    server.responses.add_permits(responses.len());
    let mut counts = [0; 2];
    for response in responses {
        counts[text(response.await.unwrap()).await.parse::<usize>().unwrap()] += 1;
    }
    assert_eq!(counts, [2; 2]);
    within("the server's end", &mut server.server).await.unwrap();
}

#[tokio::test]
async fn all_workers_share_one_limit_of_connections() {
    let server = TestServer::start(2, 100, ServeSettings::new().with_max_connections(1)).await;
    let mut first = connect(server.address).await;
    let first_worker = worker_of(&mut first).await;
    let mut second = connect(server.address).await;
    let mut waiting = std::pin::pin!(worker_of(&mut second));
    for _ in 0..20 {
        assert_eq!(worker_of(&mut first).await, first_worker);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending(), "a second connection was accepted");
    }
    drop(first);
    waiting.await;
}

#[tokio::test]
async fn a_panic_of_a_worker_ends_the_server() {
    let workers = Workers::start(NonZeroUsize::MIN).unwrap();
    let listener = listen().await;
    let server = tokio::spawn(async move {
        let make_service = |_| {
            assert!(thread::current().name().is_none(), "no service");
            service_fn(|_: Request<Body>| async { Ok(Response::new(Body::empty())) })
        };
        workers.serve(listener, make_service, ServeSettings::new(), std::future::pending()).await
    });
    assert!(within("the server's end", server).await.unwrap_err().is_panic());
}

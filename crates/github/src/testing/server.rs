//! The stand-in over HTTP.

use std::{
    convert::Infallible,
    future::pending,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use reqwest::Url;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::model::{Fault, FaultKind, Model, User};

/// The API's path, as on a GitHub Enterprise Server.
const API: &str = "/api/v3";
const MAX_BODY: usize = 16 * 1024 * 1024;

type Body = Either<Full<Bytes>, Zeros>;

/// A stand-in that listens. It ends when it is dropped.
#[derive(Debug)]
pub struct StandIn {
    address: SocketAddr,
    model: Arc<Mutex<Model>>,
    task: JoinHandle<()>,
}

impl StandIn {
    /// Starts a GitHub with these users.
    ///
    /// # Errors
    /// The address is taken, or not of this machine.
    pub async fn start(users: Vec<User>, listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let model = Arc::new(Mutex::new(Model { users, ..Model::default() }));
        let task = tokio::spawn(accept(listener, address, model.clone()));
        Ok(Self { address, model, task })
    }

    /// Returns the API's address.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://{}{API}", self.address)
    }

    /// Returns the address of the routes that steer the stand-in.
    #[must_use]
    pub fn control_url(&self) -> String {
        format!("http://{}/stand-in", self.address)
    }

    /// Reads or changes the content.
    pub fn with<T>(&self, action: impl FnOnce(&mut Model) -> T) -> T {
        action(&mut self.model.lock())
    }

    /// Replaces the faults.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.with(|model| model.faults = faults);
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, address: SocketAddr, model: Arc<Mutex<Model>>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, address, model.clone()));
    }
}

async fn serve(stream: TcpStream, address: SocketAddr, model: Arc<Mutex<Model>>) {
    let service = service_fn(|request| respond(request, address, model.clone()));
    // A client that leaves in the middle of an answer is no failure of the stand-in.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(
    request: Request<Incoming>,
    address: SocketAddr,
    model: Arc<Mutex<Model>>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let Some(path) = path.strip_prefix(API) else {
        return Ok(control(request, &path, &model).await);
    };
    let fault = model.lock().fault(path);
    match fault {
        Some(FaultKind::Silent) => pending().await,
        Some(FaultKind::Endless) => return Ok(Response::new(Either::Right(Zeros))),
        _ => {}
    }
    let base = format!("http://{address}{API}");
    let Ok(url) = Url::parse(&format!("http://{address}{}", request.uri())) else {
        return Ok(plain(StatusCode::BAD_REQUEST, ""));
    };
    let answer = model.lock().answer(&base, path, &url, request.headers());
    let mut response = Response::new(Either::Left(Full::from(answer.body)));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    Ok(response)
}

async fn control(request: Request<Incoming>, path: &str, model: &Mutex<Model>) -> Response<Body> {
    let method = request.method().clone();
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let invalid = |error: serde_json::Error| plain(StatusCode::BAD_REQUEST, &error.to_string());
    match (method, path) {
        (Method::GET, "/stand-in") => {
            let model = model.lock();
            plain(StatusCode::OK, &json!({ "calls": model.calls, "counted": model.counted }).to_string())
        }
        (Method::PUT, "/stand-in/faults") => match serde_json::from_slice::<Vec<Fault>>(&body) {
            Ok(faults) => {
                model.lock().faults = faults;
                plain(StatusCode::OK, "{}")
            }
            Err(error) => invalid(error),
        },
        (Method::PUT, "/stand-in/users") => match serde_json::from_slice::<Vec<User>>(&body) {
            Ok(users) => {
                model.lock().users = users;
                plain(StatusCode::OK, "{}")
            }
            Err(error) => invalid(error),
        },
        _ => plain(StatusCode::NOT_FOUND, ""),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::from(text.to_owned())));
    *response.status_mut() = status;
    response
}

/// A body that does not end.
#[derive(Debug)]
struct Zeros;

impl hyper::body::Body for Zeros {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 16 * 1024])))))
    }
}

//! The stand-in over HTTP.
//!
//! The API is below `/client/v4`. Tests steer it below `/stand-in`, without a token:
//!
//! | request | |
//! |---|---|
//! | `GET /stand-in` | calls by kind, the most calls in 5 minutes, records, the tunnel's document |
//! | `POST /stand-in/faults` | adds a [`Fault`]: `{"call":"batch_records","kind":"status","status":503}` |
//! | `DELETE /stand-in/faults` | removes all faults |
//! | `PUT /stand-in/tunnel` | writes the tunnel's document, as somebody else would |
//! | `POST /stand-in/records` | creates a record, as somebody else would |
//! | `PATCH /stand-in/seed` | changes fields of the [`Seed`]: `token`, `config_src`, limits, … |
//! | `DELETE /stand-in/calls` | sets all counts to zero |

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, Request as HttpRequest, Response as HttpResponse, StatusCode, header};
use http_body_util::{BodyExt, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;

use super::{
    faults::Fault,
    model::{Model, call_kind},
    seed::Seed,
    stand_in::{Exchange, StandIn},
};
use crate::cloudflare::transport::{Request, Response};

/// The first part of every path of the API.
const API: &str = "/client/v4";
const MAX_BODY: usize = 64 * 1024 * 1024;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A stand-in that listens. It ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    /// Starts to listen.
    ///
    /// # Errors
    /// The address is taken, or not of this machine.
    pub async fn start(stand_in: StandIn, address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, stand_in));
        Ok(Self { address, _task: AbortOnDropHandle::new(task) })
    }

    /// Returns the address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the value for `CF_API_URL`.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://{}{API}", self.address)
    }
}

async fn accept(listener: TcpListener, stand_in: StandIn) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let stand_in = stand_in.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| handle(stand_in.clone(), request));
            // An error is a fault that was asked for, or the client's.
            let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Answers one request. An error closes the connection without an answer.
async fn handle(stand_in: StandIn, request: HttpRequest<Incoming>) -> io::Result<HttpResponse<Body>> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await.map_err(io::Error::other)?.to_bytes();
    let json = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) };
    let Ok(json) = json else { return Ok(plain(StatusCode::BAD_REQUEST, "the body is not JSON")) };
    let Some(path) = parts.uri.path().strip_prefix(API) else {
        return Ok(control(&stand_in, &parts.method, parts.uri.path(), json));
    };
    let latency = stand_in.with(|model| model.seed.latency_ms);
    tokio::time::sleep(Duration::from_millis(latency)).await;
    let token = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer "));
    let request = Request {
        call: call_kind(&parts.method, path),
        method: parts.method.clone(),
        path: path.to_owned(),
        query: query(parts.uri.query().unwrap_or_default()),
        body: (!json.is_null()).then_some(json),
    };
    match stand_in.exchange(token, &request) {
        Exchange::Answer(response) => Ok(whole(response)),
        Exchange::Drop => Err(io::Error::other("a fault on demand")),
        Exchange::Half(response) => Ok(half(&response)),
        Exchange::Hang => std::future::pending().await,
        Exchange::Endless => Ok(endless()),
        Exchange::Redirect => Ok(HttpResponse::builder()
            .status(StatusCode::FOUND)
            .header(header::LOCATION, "http://127.0.0.1:1/")
            .body(full(Bytes::new()))
            .unwrap_or_default()),
    }
}

fn control(stand_in: &StandIn, method: &Method, path: &str, body: Value) -> HttpResponse<Body> {
    let outcome = match (method, path) {
        (&Method::GET, "/stand-in") => Ok(stand_in.with(|model| {
            json!({
                "calls": model.calls(),
                "most_calls_in_five_minutes": model.most_calls_in_five_minutes(),
                "records": model.records(),
                "version": model.version(),
                "config": model.config(),
                "seed": model.seed,
            })
        })),
        (&Method::POST, "/stand-in/faults") => serde_json::from_value::<Fault>(body)
            .map(|fault| stand_in.add_fault(fault))
            .map(|()| json!(stand_in.faults()))
            .map_err(|error| error.to_string()),
        (&Method::DELETE, "/stand-in/faults") => {
            stand_in.clear_faults();
            Ok(json!([]))
        }
        (&Method::PUT, "/stand-in/tunnel") => {
            stand_in.with(|model| model.set_config(body).map(|()| json!({ "version": model.version() })))
        }
        (&Method::POST, "/stand-in/records") => stand_in.with(|model| model.add_record(&body)),
        (&Method::PATCH, "/stand-in/seed") => stand_in.with(|model| {
            let mut seed = json!(model.seed);
            if let (Some(seed), Value::Object(changes)) = (seed.as_object_mut(), body) {
                seed.extend(changes);
            }
            model.seed = serde_json::from_value::<Seed>(seed).map_err(|error| error.to_string())?;
            Ok(json!(model.seed))
        }),
        (&Method::DELETE, "/stand-in/calls") => {
            stand_in.with(Model::reset_calls);
            Ok(json!({}))
        }
        _ => return plain(StatusCode::NOT_FOUND, "the stand-in has no such path"),
    };
    match outcome {
        Ok(value) => {
            let body = value.to_string().into_bytes();
            whole(Response { status: 200, retry_after: None, body })
        }
        Err(message) => plain(StatusCode::BAD_REQUEST, &message),
    }
}

/// Reads a query; values are percent-decoded as far as the filters of the API need it.
fn query(text: &str) -> Vec<(&'static str, String)> {
    const KNOWN: [&str; 16] = [
        "name",
        "name.exact",
        "name.contains",
        "name.startswith",
        "name.endswith",
        "type",
        "content",
        "content.exact",
        "comment.exact",
        "comment.contains",
        "comment.startswith",
        "comment.endswith",
        "page",
        "per_page",
        "order",
        "direction",
    ];
    let address = format!("http://localhost/?{text}");
    let Ok(url) = reqwest::Url::parse(&address) else { return Vec::new() };
    let pairs = url.query_pairs().filter_map(|(name, value)| {
        KNOWN.iter().find(|known| **known == name).map(|known| (*known, value.into_owned()))
    });
    pairs.collect()
}

fn whole(response: Response) -> HttpResponse<Body> {
    let mut builder = HttpResponse::builder()
        .status(response.status)
        .header(header::CONTENT_TYPE, "application/json")
        .header("ratelimit-policy", "\"default\";q=1200;w=300");
    if let Some(delay) = response.retry_after {
        builder = builder.header(header::RETRY_AFTER, delay.as_secs());
    }
    builder.body(full(Bytes::from(response.body))).unwrap_or_default()
}

fn half(response: &Response) -> HttpResponse<Body> {
    let middle = Bytes::copy_from_slice(&response.body[..response.body.len() / 2]);
    let parts = stream::iter([Ok(Frame::data(middle)), Err(io::Error::other("a fault on demand"))]);
    HttpResponse::new(StreamBody::new(parts).boxed_unsync())
}

fn endless() -> HttpResponse<Body> {
    let block = Bytes::from(vec![b' '; 64 * 1024]);
    let blocks = stream::repeat(block).map(|block| Ok(Frame::data(block)));
    HttpResponse::new(StreamBody::new(blocks).boxed_unsync())
}

fn plain(status: StatusCode, text: &str) -> HttpResponse<Body> {
    let mut response = HttpResponse::new(full(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    response
}

fn full(bytes: Bytes) -> Body {
    http_body_util::Full::new(bytes).map_err(|error: Infallible| match error {}).boxed_unsync()
}

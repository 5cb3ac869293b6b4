//! HTTP requests to a session's opencode, whose every answer is read with a bound.
//!
//! What answers may be hostile: code of the session's user, of a repository or of a language model. So an
//! answer costs the router a known amount of memory and time at most, whatever is sent:
//!
//! - its body: the bytes that the caller allows, [`MAX_BYTES`] by default;
//! - its head: hyper's limits for HTTP/1, 100 headers and 400 KiB;
//! - all of it, from connecting to the last byte: the time that the caller allows.
//!
//! No redirect is followed, no proxy is used and no connection is kept: one that was open while opencode
//! restarted would look like an opencode that does not answer.
//!
//! clippy.toml forbids reqwest's own methods that read a whole body, because they have no limit.

use std::{net::SocketAddr, time::Duration};

use reqwest::{
    Client, Method, RequestBuilder, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
    redirect::Policy,
};
use serde_json::Value;
use thiserror::Error;

use crate::{innermost::innermost_message, model::Password};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const NEXT_CURSOR: &str = "x-next-cursor";
/// The largest body that is read, unless the caller sets a smaller limit.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

/// Why a request to opencode has no usable answer.
#[derive(Debug, Error)]
pub(crate) enum OpencodeError {
    /// The answer was not complete in time.
    #[error("opencode did not answer in time")]
    Timeout,
    /// The connection could not be made, or broke.
    #[error("opencode can't be reached: {0}")]
    Unreachable(String),
    /// The answer's status is not a success.
    #[error("opencode answered with status {0}")]
    Status(StatusCode),
    /// The body is larger than the limit, in bytes.
    #[error("opencode's answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The answer is not what opencode sends for this request.
    #[error("opencode's answer is not what was expected: {0}")]
    Unexpected(&'static str),
}

/// A client for the requests that the router itself sends to sessions; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient(Client);

impl HttpClient {
    /// Creates a client.
    pub(crate) fn new() -> Self {
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT_TIMEOUT)
            // opencode is never asked by https. Without this, the certificate authorities of the system are
            // loaded, and a system without any is an error.
            .tls_certs_only([])
            .build();
        Self(client.expect("a client without proxies and files has nothing that can fail"))
    }

    /// Prepares a request with opencode's Basic authentication.
    pub(super) fn request(
        &self,
        method: Method,
        address: SocketAddr,
        path: &str,
        password: Option<&Password>,
    ) -> RequestBuilder {
        let request = self.0.request(method, format!("http://{address}{path}"));
        match password {
            Some(password) => request.header(AUTHORIZATION, password.authorization()),
            None => request,
        }
    }
}

/// How much of an answer is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The size of the body.
    pub(super) bytes: usize,
    /// The time from connecting to the last byte.
    pub(super) time: Duration,
}

/// Sends a request and returns the body of a successful answer.
pub(super) async fn bytes(request: RequestBuilder, limits: Limits) -> Result<Vec<u8>, OpencodeError> {
    read(success(send(request, limits).await?)?, limits).await
}

/// Sends a request and returns the body of a successful answer that is JSON. opencode answers an unknown
/// path with status 200 and its page, so the content type is checked as well.
pub(super) async fn json(request: RequestBuilder, limits: Limits) -> Result<Value, OpencodeError> {
    Ok(json_with_cursor(request, limits).await?.0)
}

/// Sends a request like [`json`], and returns in addition the header that says where a list continues.
pub(super) async fn json_with_cursor(
    request: RequestBuilder,
    limits: Limits,
) -> Result<(Value, Option<String>), OpencodeError> {
    let response = success(send(request, limits).await?)?;
    if !is_json(&response) {
        return Err(OpencodeError::Unexpected("its content type is not JSON"));
    }
    let cursor = response.headers().get(NEXT_CURSOR).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let bytes = read(response, limits).await?;
    let value = serde_json::from_slice(&bytes).map_err(|_| OpencodeError::Unexpected("it is not JSON"))?;
    Ok((value, cursor))
}

/// Sends a request and returns the answer, whose body is not read yet.
pub(super) async fn send(request: RequestBuilder, limits: Limits) -> Result<Response, OpencodeError> {
    // The timeout also applies to the body.
    request.timeout(limits.time).send().await.map_err(transport_error)
}

/// Sends a request and returns the answer, whose body is an endless event stream. Only its head has to come
/// in time.
pub(super) async fn event_stream(request: RequestBuilder, time: Duration) -> Result<Response, OpencodeError> {
    let response = tokio::time::timeout(time, request.send()).await.map_err(|_| OpencodeError::Timeout)?;
    let response = success(response.map_err(transport_error)?)?;
    if !has_type(&response, "text/event-stream") {
        return Err(OpencodeError::Unexpected("its content type is not an event stream"));
    }
    Ok(response)
}

fn success(response: Response) -> Result<Response, OpencodeError> {
    let status = response.status();
    if status.is_success() { Ok(response) } else { Err(OpencodeError::Status(status)) }
}

fn is_json(response: &Response) -> bool {
    has_type(response, "application/json")
}

fn has_type(response: &Response, content_type: &str) -> bool {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(content_type))
}

/// Reads the body. Dropping the rest closes the connection.
async fn read(mut response: Response, limits: Limits) -> Result<Vec<u8>, OpencodeError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transport_error)? {
        if bytes.len() + chunk.len() > limits.bytes {
            return Err(OpencodeError::TooLarge(limits.bytes));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

pub(super) fn transport_error(error: reqwest::Error) -> OpencodeError {
    if error.is_timeout() {
        return OpencodeError::Timeout;
    }
    OpencodeError::Unreachable(innermost_message(&error.without_url()))
}

//! How requests reach Cloudflare: over HTTP, or in tests the stand-in in memory.

use std::{error::Error, net::IpAddr, time::Duration};

use async_trait::async_trait;
use http::{HeaderMap, Method, header::RETRY_AFTER};
use reqwest::{Url, redirect};
use serde_json::Value;

use super::{error::CloudflareError, settings::CloudflareSettings};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For a whole call. Writing a long document takes Cloudflare seconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer that is read, in bytes. A page of 5,000 records has about 3 MB.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// One call of the API.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The kind of call, one of [`CALLS`](super::CALLS).
    pub call: &'static str,
    /// The method.
    pub method: Method,
    /// The path after the API's address, with a first slash.
    pub path: String,
    /// The query.
    pub query: Vec<(&'static str, String)>,
    /// The body.
    pub body: Option<Value>,
}

/// An answer that arrived completely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransportError {
    /// It did not arrive in this time.
    Timeout(Duration),
    /// The connection failed, or ended too early.
    Unreachable(String),
    /// It is longer than any that the API gives.
    TooLong,
}

/// Carries calls to the API, with the token.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends one call and reads its whole answer.
    async fn send(&self, request: Request) -> Result<Response, TransportError>;
}

/// Carries calls over HTTP. Redirects are not followed, answers are read up to a limit, and each call has a
/// timeout.
pub struct HttpTransport {
    http: reqwest::Client,
    timeout: Duration,
    api_url: String,
    token: String,
}

impl HttpTransport {
    /// Creates a transport. It makes no connection.
    ///
    /// # Errors
    /// [`CloudflareError::Client`] if the API's address is not one.
    pub fn new(settings: &CloudflareSettings) -> Result<Self, CloudflareError> {
        let client = |error: &dyn Error| CloudflareError::Client(with_sources(error));
        let url = Url::parse(&settings.api_url).map_err(|error| client(&error))?;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("opencode-cloudflare-operator/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT);
        if is_loopback(&url) {
            // A proxy from the environment could not reach this machine.
            http = http.no_proxy();
        }
        Ok(Self {
            http: http.build().map_err(|error| client(&error))?,
            api_url: settings.api_url.trim_end_matches('/').to_owned(),
            token: settings.token.clone(),
            timeout: CALL_TIMEOUT,
        })
    }

    /// Sets how long a whole call may take; by default 30 s.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn failure(&self, error: &reqwest::Error) -> TransportError {
        if error.is_timeout() && !error.is_connect() {
            return TransportError::Timeout(self.timeout);
        }
        TransportError::Unreachable(with_sources(error))
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let mut call = self
            .http
            .request(request.method, format!("{}{}", self.api_url, request.path))
            .bearer_auth(&self.token)
            .timeout(self.timeout)
            .query(&request.query);
        if let Some(body) = &request.body {
            call = call.json(body);
        }
        let mut response = call.send().await.map_err(|error| self.failure(&error))?;
        let (status, retry_after) = (response.status().as_u16(), retry_after(response.headers()));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(&error))? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(TransportError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status, retry_after, body })
    }
}

/// Reads `Retry-After` in seconds, the only form that Cloudflare sends.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// Joins an error with its sources. The address of the call is left out: it says nothing new.
fn with_sources(error: &dyn Error) -> String {
    let mut texts = Vec::new();
    let mut next = error.source().or(Some(error));
    while let Some(error) = next {
        texts.push(error.to_string());
        next = error.source();
    }
    texts.join(": ")
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

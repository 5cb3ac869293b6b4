//! An OpenTelemetry collector: OTLP over HTTP, in protobuf.

use std::{error::Error, io, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri, header, uri::Scheme};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use crate::config::TraceSettings;

/// How long a request may take, its response included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most that is read of a response, so that its connection can be used again.
const MAX_RESPONSE: usize = 64 * 1024;

/// Sends spans to a collector. It follows no redirect, since the headers may contain a secret.
pub(super) struct Collector {
    transport: Transport,
    endpoint: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// How the collector is reached. Only https needs certificate authorities, which a system may lack.
enum Transport {
    Http(Client<HttpConnector, Full<Bytes>>),
    Https(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// Why spans were not accepted.
#[derive(Debug)]
pub(super) enum SendError {
    /// The collector can't be reached now, or asks for a later attempt.
    Unavailable(String),
    /// The collector does not want these spans.
    Refused(StatusCode),
}

impl Collector {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// The system has no certificate authorities, and the endpoint needs them.
    pub(super) fn new(settings: &TraceSettings) -> io::Result<Self> {
        let builder = Client::builder(TokioExecutor::new());
        let transport = if settings.endpoint.scheme() == Some(&Scheme::HTTPS) {
            let connector = HttpsConnectorBuilder::new().with_native_roots()?.https_only().enable_http1();
            Transport::Https(builder.build(connector.build()))
        } else {
            Transport::Http(builder.build_http())
        };
        Ok(Self { transport, endpoint: settings.endpoint.clone(), headers: settings.headers.clone() })
    }

    /// Sends an encoded `ExportTraceServiceRequest`.
    ///
    /// # Errors
    /// [`SendError`]
    pub(super) async fn send(&self, body: Bytes) -> Result<(), SendError> {
        match tokio::time::timeout(TIMEOUT, self.exchange(body)).await {
            Ok(result) => result,
            Err(_) => Err(SendError::Unavailable(format!("no answer within {} s", TIMEOUT.as_secs()))),
        }
    }

    async fn exchange(&self, body: Bytes) -> Result<(), SendError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        let headers = request.headers_mut();
        headers.extend(self.headers.iter().cloned());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("opencode-router"));
        let response = match &self.transport {
            Transport::Http(client) => client.request(request),
            Transport::Https(client) => client.request(request),
        };
        let response = response.await.map_err(|error| unavailable(&error))?;
        let status = response.status();
        // What the collector says beyond its status is not used. A response that is too long ends its
        // connection.
        let _ignored = Limited::new(response.into_body(), MAX_RESPONSE).collect().await;
        match status {
            status if status.is_success() => Ok(()),
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                Err(SendError::Unavailable(format!("the collector answers {status}")))
            }
            status => Err(SendError::Refused(status)),
        }
    }
}

/// Describes an error with its causes: the first one alone says only that connecting failed.
fn unavailable(error: &dyn Error) -> SendError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    SendError::Unavailable(text)
}

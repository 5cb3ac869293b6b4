//! Requests to one router, and their errors.

use std::{fmt::Display, net::IpAddr, time::Duration};

use reqwest::{
    Method, RequestBuilder, Response, Url,
    header::{ACCEPT, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use serde::de::DeserializeOwned;

use super::error::ClientError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a whole answer; for a stream, until its head arrives.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a stream tries to reconnect by default.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest answer or event that is read, in bytes; a list of thousands of sessions fits.
pub(super) const MAX_BYTES: usize = 32 * 1024 * 1024;

/// A client of one router.
///
/// Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    pub(super) reconnect_timeout: Duration,
}

impl Client {
    /// Creates a client of the router at this address (`http://localhost:3000`). Over https, it trusts the
    /// certificates that the machine trusts.
    ///
    /// # Errors
    /// [`ClientError::Address`] if the address is not an http or https address.
    pub fn new(address: &str) -> Result<Self, ClientError> {
        Self::with_headers(address, HeaderMap::new())
    }

    /// Creates a client that sends these headers with each request, for a sign-in in front of the router.
    ///
    /// # Errors
    /// [`ClientError::Address`] if the address is not an http or https address.
    pub fn with_headers(address: &str, mut headers: HeaderMap) -> Result<Self, ClientError> {
        let invalid =
            |reason: &str| ClientError::Address { address: address.to_owned(), reason: reason.to_owned() };
        let mut base = Url::parse(address).map_err(|error| invalid(&error.to_string()))?;
        match base.scheme() {
            "http" | "https" if base.host_str().is_some() => {}
            _ => return Err(invalid("it must start with http:// or https://")),
        }
        base.set_query(None);
        base.set_fragment(None);
        headers.values_mut().for_each(|value| value.set_sensitive(true));
        let mut http = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("opencode-router-client/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT);
        if is_loopback(&base) {
            // A proxy from the environment could not reach this machine.
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| invalid(&error.to_string()))?;
        Ok(Self { http, base, reconnect_timeout: RECONNECT_TIMEOUT })
    }

    /// Sets how long a stream tries to reconnect before it gives up; by default one minute.
    #[must_use]
    pub fn with_reconnect_timeout(mut self, timeout: Duration) -> Self {
        self.reconnect_timeout = timeout;
        self
    }

    /// The router's address.
    #[must_use]
    pub fn address(&self) -> &Url {
        &self.base
    }

    /// Builds a request to a path under `/api/`.
    pub(super) fn request(&self, method: Method, path: impl Display) -> RequestBuilder {
        self.http.request(method, format!("{}/api/{path}", self.base.as_str().trim_end_matches('/')))
    }

    /// Sends a request and reads the JSON of its answer.
    pub(super) async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request.header(ACCEPT, "application/json")).await?;
        self.read_json(response).await
    }

    pub(super) async fn read_json<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let bytes = self.body(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            self.unexpected(format!("this version does not understand its answer ({error})"))
        })
    }

    /// Sends a request whose whole answer must arrive in time.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        self.open(request.timeout(ANSWER_TIMEOUT)).await
    }

    /// Sends a request without a time limit. An answer other than a success is an error.
    pub(super) async fn open(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.transport_error(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.body(response).await.unwrap_or_default();
        Err(ClientError::from_answer(self.base.as_str(), status.as_u16(), &body))
    }

    /// Reads the whole body, with a limit: the server at this address may not be a router.
    pub(super) async fn body(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.transport_error(error))? {
            if bytes.len() + chunk.len() > MAX_BYTES {
                return Err(self.unexpected("its answer is longer than any of a router"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    pub(super) fn transport_error(&self, error: reqwest::Error) -> ClientError {
        ClientError::from_transport(self.base.as_str(), error)
    }

    pub(super) fn unreachable(&self, reason: impl Into<String>) -> ClientError {
        ClientError::Unreachable { server: self.base.to_string(), reason: reason.into() }
    }

    pub(super) fn unexpected(&self, reason: impl Into<String>) -> ClientError {
        ClientError::Unexpected { server: self.base.to_string(), reason: reason.into() }
    }
}

/// Parses a header that is written as `Name: value`.
///
/// # Errors
/// [`ClientError::Header`], which does not repeat the value: it may be a secret.
pub fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), ClientError> {
    let (name, value) = text.split_once(':').ok_or(ClientError::Header("the ':' is missing"))?;
    let name = name
        .trim()
        .parse()
        .map_err(|_| ClientError::Header("the name contains a character that is not allowed"))?;
    let value = value
        .trim()
        .parse()
        .map_err(|_| ClientError::Header("the value contains a character that is not allowed"))?;
    Ok((name, value))
}

fn is_loopback(address: &Url) -> bool {
    let host = address.host_str().unwrap_or_default();
    let name = host.trim_matches(['[', ']']);
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn addresses_of_this_machine_are_recognised() {
        let check = |address: &str, expected: bool| {
            assert_eq!(is_loopback(&Url::parse(address).expect("a URL")), expected, "{address}");
        };
        check("http://localhost:3000", true);
        check("http://router.localhost", true);
        check("http://127.0.0.2:3000", true);
        check("http://[::1]:3000", true);
        check("https://opencode.example.org", false);
        check("http://notlocalhost", false);
    }

    #[test]
    fn a_path_in_front_of_the_router_is_kept() {
        for address in ["http://h.example/oc", "http://h.example/oc/", "http://h.example/oc?a=1#b"] {
            let client = Client::new(address).expect("a client");
            let request = client.request(Method::POST, "sessions/010101010101/stop");
            let url = request.build().expect("a request").url().to_string();
            assert_eq!(url, "http://h.example/oc/api/sessions/010101010101/stop");
        }
    }

    #[test]
    fn an_invalid_address_is_refused_when_the_client_is_created() {
        for address in ["", "localhost:3000", "ftp://h.example", "unix:/run/x", "https://"] {
            let error = Client::new(address).expect_err(address);
            assert!(matches!(error, ClientError::Address { .. }), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_router_behind_https_is_contacted_over_tls() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client =
            Client::new(&format!("https://{}", listener.local_addr().expect("bound"))).expect("a client");
        let request = tokio::spawn(async move { client.list().await });
        let (mut stream, _) = listener.accept().await.expect("a connection");
        // RFC 8446 §5.1: a record of type handshake (22).
        assert_eq!(stream.read_u8().await.expect("a byte"), 22);
        drop(stream);
        assert!(matches!(request.await.expect("an end"), Err(ClientError::Unreachable { .. })));
    }

    #[tokio::test]
    async fn an_endless_answer_is_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client =
            Client::new(&format!("http://{}", listener.local_addr().expect("bound"))).expect("a client");
        let request = tokio::spawn(async move { client.list().await });
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.read_buf(&mut Vec::with_capacity(4096)).await.expect("a request");
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("a head");
        // Ends when the client closes the connection.
        let spaces = vec![b' '; 1024 * 1024];
        let mut sent = 0;
        while stream.write_all(&spaces).await.is_ok() {
            sent += spaces.len();
            assert!(sent < 2 * MAX_BYTES, "the client still reads after {sent} bytes");
        }
        let error = request.await.expect("an end").expect_err("an error");
        assert!(matches!(error, ClientError::Unexpected { .. }), "{error:?}");
    }

    #[test]
    fn a_header_is_parsed_as_a_person_writes_it() {
        let (name, value) = parse_header("Cf-Access-Token:  abc:def ").expect("a header");
        assert_eq!((name.as_str(), value.to_str().expect("text")), ("cf-access-token", "abc:def"));
        for text in ["no colon", "bad name: x", ": x", "x: a\nb"] {
            assert!(parse_header(text).is_err(), "{text}");
        }
    }
}

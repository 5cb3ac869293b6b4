//! The typed client of the routes.
//!
//! ```no_run
//! # async fn example() -> Result<(), api::client::ClientError> {
//! use api::{client::Client, wire::CreateSession};
//! let client = Client::new("http://localhost:3000")?;
//! let made = client.create(&CreateSession::default()).await?;
//! println!("{} is {:?}", made.session.hash, made.session.state);
//! # Ok(()) }
//! ```

mod error;
mod sse;
mod watch;

use std::time::Duration;

use futures_util::Stream;
use reqwest::{
    Method, RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use serde::de::DeserializeOwned;
use session_key::SessionHash;

pub use error::ClientError;

use crate::wire::{
    CreateSession, Session, SessionEvent, SessionList, SessionState, SiteConfig, SuggestedBranch, UnsavedWork,
};

/// To connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a whole answer that is no stream.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest answer or event that is read, in bytes; a list of thousands of sessions fits.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Talks to one router.
///
/// Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    patience: Duration,
}

/// The answer to [`Client::create`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The session.
    pub session: SessionState,
    /// It was made by this request; false: it was there already.
    pub new: bool,
}

impl Client {
    /// A client of the router at this address (`http://localhost:3000`). Over https, whom the machine trusts is trusted.
    ///
    /// # Errors
    /// [`ClientError::Address`] where that is no http or https address.
    pub fn new(address: &str) -> Result<Self, ClientError> {
        Self::with_headers(address, HeaderMap::new())
    }

    /// A client that sends these headers with each request: what a sign-in in front of the router asks for.
    ///
    /// # Errors
    /// [`ClientError::Address`] where the address is no http or https one.
    pub fn with_headers(address: &str, mut headers: HeaderMap) -> Result<Self, ClientError> {
        let refuse = |why: &str| ClientError::Address { address: address.to_owned(), why: why.to_owned() };
        let base = Url::parse(address).map_err(|why| refuse(&why.to_string()))?;
        match base.scheme() {
            "http" | "https" if base.host_str().is_some() => {}
            _ => return Err(refuse("it must start with http:// or https://")),
        }
        headers.values_mut().for_each(|value| value.set_sensitive(true));
        let mut http = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("opencode-router-client/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT);
        if is_this_machine(&base) {
            // A proxy from the environment could not reach it.
            http = http.no_proxy();
        }
        let http = http.build().map_err(|why| refuse(&why.to_string()))?;
        Ok(Self { http, base, patience: watch::PATIENCE })
    }

    /// How long a stream tries to reconnect before it gives up; a minute unless told.
    #[must_use]
    pub fn patient_for(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Where the router is.
    #[must_use]
    pub fn address(&self) -> &Url {
        &self.base
    }

    /// The caller's sessions, newest activity first.
    ///
    /// # Errors
    /// [`ClientError`], as all of these methods.
    pub async fn list(&self) -> Result<SessionList, ClientError> {
        self.json(self.request(Method::GET, &["sessions"])?).await
    }

    /// One session.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 where there is none of the caller's.
    pub async fn get(&self, hash: SessionHash) -> Result<Session, ClientError> {
        self.json(self.of(Method::GET, hash, "")?).await
    }

    /// Asks for a session. Asking twice for the same is no error.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 400 where repository, branch or message can't be taken.
    pub async fn create(&self, asked: &CreateSession) -> Result<Created, ClientError> {
        let response = self.send(self.request(Method::POST, &["sessions"])?.json(asked)).await?;
        let new = response.status() == StatusCode::CREATED;
        Ok(Created { session: self.read(response).await?, new })
    }

    /// Starts a stopped or failed session. Of one that runs nothing changes.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 where there is none of the caller's.
    pub async fn resume(&self, hash: SessionHash) -> Result<SessionState, ClientError> {
        self.json(self.of(Method::POST, hash, "resume")?).await
    }

    /// Stops a session; its files are kept. Of one that is stopped nothing changes.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 where there is none of the caller's.
    pub async fn stop(&self, hash: SessionHash) -> Result<SessionState, ClientError> {
        self.json(self.of(Method::POST, hash, "stop")?).await
    }

    /// Deletes a session and all of its files.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 where there is none of the caller's.
    pub async fn delete(&self, hash: SessionHash) -> Result<(), ClientError> {
        self.send(self.of(Method::DELETE, hash, "")?).await.map(drop)
    }

    /// The last lines of a session's log.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 where there is none of the caller's, 400 for more lines than 10,000.
    pub async fn logs(&self, hash: SessionHash, lines: usize) -> Result<String, ClientError> {
        let response = self.send(self.of(Method::GET, hash, "logs")?.query(&[("lines", lines)])).await?;
        self.body(response).await.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// What deleting a session would lose.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 where there is none of the caller's.
    pub async fn work(&self, hash: SessionHash) -> Result<UnsavedWork, ClientError> {
        self.json(self.of(Method::GET, hash, "work")?).await
    }

    /// A branch name that no session of the caller's has for that repository.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 400 where the repository can't be taken.
    pub async fn suggest_branch(&self, repo_url: &str) -> Result<SuggestedBranch, ClientError> {
        let request = self.request(Method::GET, &["sessions", "suggest-branch"])?;
        self.json(request.query(&[("repoUrl", repo_url)])).await
    }

    /// What the site needs to know of the router.
    ///
    /// # Errors
    /// [`ClientError`], as all of these methods.
    pub async fn config(&self) -> Result<SiteConfig, ClientError> {
        self.json(self.request(Method::GET, &["config"])?).await
    }

    /// How a session's start goes, until it runs or failed. Reconnects by itself; ends after
    /// [`Complete`](SessionEvent::Complete), [`Error`](SessionEvent::Error), or an `Err`.
    pub fn watch(
        &self,
        hash: SessionHash,
    ) -> impl Stream<Item = Result<SessionEvent, ClientError>> + Send + Unpin + use<> {
        watch::events(self.clone(), hash)
    }

    /// The caller's sessions, at once and on every change. Reconnects by itself; ends only after an `Err`.
    pub fn watch_list(&self) -> impl Stream<Item = Result<SessionList, ClientError>> + Send + Unpin + use<> {
        watch::lists(self.clone())
    }

    fn of(&self, method: Method, hash: SessionHash, what: &str) -> Result<RequestBuilder, ClientError> {
        let hash = hash.to_string();
        let path = ["sessions", &hash, what];
        self.request(method, if what.is_empty() { &path[..2] } else { &path })
    }

    fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder, ClientError> {
        let mut url = self.base.clone();
        let Ok(mut segments) = url.path_segments_mut() else {
            // Http addresses can have a path; that it is one was asked when the client was made.
            let address = self.base.to_string();
            return Err(ClientError::Address { address, why: "it can have no path".into() });
        };
        segments.pop_if_empty().push("api").extend(path);
        drop(segments);
        let reads = method == Method::GET;
        let request = self.http.request(method, url);
        let json = HeaderValue::from_static("application/json");
        Ok(if reads { request } else { request.header(CONTENT_TYPE, json) })
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request.header(ACCEPT, "application/json")).await?;
        self.read(response).await
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let bytes = self.body(response).await?;
        serde_json::from_slice(&bytes).map_err(|why| ClientError::Unexpected {
            server: self.base.to_string(),
            why: format!("its answer is not what this version understands ({why})"),
        })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        self.open(request.timeout(ANSWER_TIMEOUT)).await
    }

    /// Sends, with no limit on how long the answer goes on; what is not a success is an error.
    async fn open(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|why| self.failed(why))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refused(response).await)
    }

    /// Reads the whole body, with a limit: the server at this address may be no router.
    async fn body(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(error))? {
            if bytes.len() + chunk.len() > MAX_BYTES {
                return Err(ClientError::Unexpected {
                    server: self.base.to_string(),
                    why: "its answer is longer than any of a router".into(),
                });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    async fn refused(&self, response: Response) -> ClientError {
        let status = response.status();
        let body = self.body(response).await.unwrap_or_default();
        ClientError::of_answer(self.base.as_str(), status.as_u16(), &body)
    }

    fn failed(&self, why: reqwest::Error) -> ClientError {
        ClientError::of_transport(self.base.as_str(), why)
    }
}

/// A header as a person writes it: `Name: value`.
///
/// # Errors
/// [`ClientError::Header`]; it does not repeat the value, which may be a secret.
pub fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), ClientError> {
    let (name, value) = text.split_once(':').ok_or(ClientError::Header("there is no ':'"))?;
    let name =
        name.trim().parse().map_err(|_| ClientError::Header("its name holds what no header name may"))?;
    let value =
        value.trim().parse().map_err(|_| ClientError::Header("its value holds what no header may"))?;
    Ok((name, value))
}

fn is_this_machine(address: &Url) -> bool {
    let host = address.host_str().unwrap_or_default();
    let name = host.trim_matches(['[', ']']);
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_are_known() {
        let check = |address: &str, here: bool| {
            assert_eq!(is_this_machine(&Url::parse(address).expect("a URL")), here, "{address}");
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
        for address in ["http://h.example/oc", "http://h.example/oc/"] {
            let client = Client::new(address).expect("a client");
            let request =
                client.of(Method::POST, SessionHash::from_bytes([1; 6]), "stop").expect("a request");
            let url = request.build().expect("a request").url().to_string();
            assert_eq!(url, "http://h.example/oc/api/sessions/010101010101/stop");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_when_the_client_is_made() {
        for address in ["", "localhost:3000", "ftp://h.example", "unix:/run/x", "https://"] {
            let refused = Client::new(address).expect_err(address);
            assert!(matches!(refused, ClientError::Address { .. }), "{refused:?}");
        }
    }

    #[tokio::test]
    async fn a_router_behind_https_is_spoken_to_in_tls() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client =
            Client::new(&format!("https://{}", listener.local_addr().expect("bound"))).expect("a client");
        let asking = tokio::spawn(async move { client.config().await });
        let (mut stream, _) = listener.accept().await.expect("a connection");
        // RFC 8446 §5.1: a record of type handshake (22).
        assert_eq!(tokio::io::AsyncReadExt::read_u8(&mut stream).await.expect("a byte"), 22);
        drop(stream);
        assert!(matches!(asking.await.expect("an end"), Err(ClientError::Unreachable { .. })));
    }

    #[tokio::test]
    async fn an_endless_answer_is_cut_off() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client = Client::new(&format!("http://{}", listener.local_addr().expect("bound"))).expect("one");
        let request = tokio::spawn(async move { client.config().await });
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
    fn headers_are_written_as_a_person_does() {
        let (name, value) = parse_header("Cf-Access-Token:  abc:def ").expect("a header");
        assert_eq!((name.as_str(), value.to_str().expect("text")), ("cf-access-token", "abc:def"));
        for text in ["no colon", "bad name: x", ": x", "x: a\nb"] {
            assert!(parse_header(text).is_err(), "{text}");
        }
    }
}

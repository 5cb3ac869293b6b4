//! Compares this client with hyper's, response by response, on mutated ones: what a session sends means the
//! same to both, except where a rule below says why not.

use std::{future::poll_fn, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    time::timeout,
};

use super::{
    Connection,
    differential_cases::{LINES, RESPONSES, line_starts, mutation, response},
};
use crate::{body::Body, upstream_stream::UpstreamStream};

/// The clock is paused, so this passes as soon as nobody can do anything.
const IDLE: Duration = Duration::from_millis(100);

/// What a client makes of what a session sends.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    head: Option<(StatusCode, HeaderMap)>,
    /// The body, or what follows a switch of protocols.
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    end: End,
    /// Whether another request would be sent on the connection.
    is_reusable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    Failed,
    /// More is waited for.
    Missing,
}

impl Outcome {
    fn new(end: End) -> Self {
        Self { head: None, data: Vec::new(), trailers: None, end, is_reusable: false }
    }

    fn add<E>(&mut self, frame: Result<Frame<Bytes>, E>) {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => self.data.extend_from_slice(&data),
            Ok(Err(frame)) => self.trailers = frame.into_trailers().ok(),
            Err(_) => self.end = End::Failed,
        }
    }
}

/// What a session sends after it received a request.
#[derive(Clone)]
struct Sent {
    method: Method,
    text: Vec<u8>,
    cuts: Vec<prop::sample::Index>,
    close: bool,
}

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}, close: {}", self.method, self.text.escape_ascii().to_string(), self.close)
    }
}

impl Sent {
    fn new(text: Vec<u8>, close: bool) -> Self {
        Self { method: Method::GET, text, cuts: Vec::new(), close }
    }

    /// Returns the session's end, which is to be kept open.
    async fn send(&self, mut session: DuplexStream) -> DuplexStream {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(session.read_u8().await.unwrap());
        }
        let mut cuts: Vec<_> = self.cuts.iter().map(|cut| cut.index(self.text.len() + 1)).collect();
        cuts.extend([0, self.text.len()]);
        cuts.sort_unstable();
        for ends in cuts.windows(2).filter(|ends| ends[0] < ends[1]) {
            // A client that refuses the response may be gone.
            let _written = session.write_all(&self.text[ends[0]..ends[1]]).await;
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        }
        if self.close {
            let _closed = session.shutdown().await;
        }
        session
    }

    /// Returns what our client and hyper's make of it.
    fn outcomes(&self) -> (Outcome, Outcome) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (ours, session) = duplex(64 * 1024);
        let ours = runtime.block_on(async { tokio::join!(self.receive(ours), self.send(session)).0 });
        let (other, session) = duplex(64 * 1024);
        let other = async { tokio::join!(self.receive_by_hyper(other), self.send(session)).0 };
        (ours, runtime.block_on(other))
    }

    async fn receive(&self, stream: DuplexStream) -> Outcome {
        let mut connection = Connection::new(UpstreamStream::new(stream), Duration::from_secs(60));
        let request = Request::builder().method(&self.method).uri("/").body(Body::empty()).unwrap();
        let response = match timeout(IDLE, connection.send(request, None)).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => return Outcome::new(End::Failed),
            Err(_) => return Outcome::new(End::Missing),
        };
        let mut outcome = Outcome::new(End::Complete);
        outcome.head = Some((response.status(), response.headers().clone()));
        if response.status() == 101 {
            let (mut stream, received) = connection.into_stream();
            outcome.data = received.to_vec();
            let _read = timeout(IDLE, stream.read_to_end(&mut outcome.data)).await;
            return outcome;
        }
        loop {
            match timeout(IDLE, poll_fn(|context| connection.poll_frame(context))).await {
                Ok(Some(frame)) => outcome.add(frame),
                Ok(None) => break,
                Err(_) => {
                    outcome.end = End::Missing;
                    break;
                }
            }
        }
        // All that the session sends has arrived.
        tokio::time::sleep(IDLE).await;
        outcome.is_reusable = connection.is_open();
        outcome
    }

    async fn receive_by_hyper(&self, stream: DuplexStream) -> Outcome {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection.with_upgrades());
        let request = Request::builder().method(&self.method).uri("/").body(Empty::<Bytes>::new()).unwrap();
        let mut response = match timeout(IDLE, sender.send_request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => return Outcome::new(End::Failed),
            Err(_) => return Outcome::new(End::Missing),
        };
        let mut outcome = Outcome::new(End::Complete);
        outcome.head = Some((response.status(), response.headers().clone()));
        if response.status() == 101 {
            let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
            let _read = timeout(IDLE, stream.read_to_end(&mut outcome.data)).await;
            return outcome;
        }
        loop {
            match timeout(IDLE, response.frame()).await {
                Ok(Some(frame)) => outcome.add(frame),
                Ok(None) => break,
                Err(_) => {
                    outcome.end = End::Missing;
                    break;
                }
            }
        }
        tokio::time::sleep(IDLE).await;
        outcome.is_reusable = sender.is_ready() && !connection.is_finished();
        outcome
    }

    /// Compares the outcomes, except for what the rules allow.
    fn check(&self) -> Result<(), TestCaseError> {
        let (ours, mut other) = self.outcomes();
        if !allow(&self.method, &ours, &mut other, &self.text) {
            prop_assert_eq!(&ours, &other);
        }
        Ok(())
    }
}

/// Makes of hyper's outcome what ours is to be by the rules of ADR 31. Returns whether one of them says that
/// our client fails, whatever hyper's does.
fn allow(method: &Method, ours: &Outcome, other: &mut Outcome, text: &[u8]) -> bool {
    if ours.end == End::Failed && ours.head.is_none() {
        return match &other.head {
            // hyper looks for the end of a malformed head, and we don't.
            None => other.end == End::Missing,
            // It reads other codings than `chunked` until the connection is closed, or ignores them.
            Some((_, headers)) => {
                let mut codings = list(headers, &header::TRANSFER_ENCODING);
                codings.next().is_some_and(|first| !first.eq_ignore_ascii_case("chunked"))
                    || codings.next().is_some()
            }
        };
    }
    let Some((status, headers)) = &mut other.head else { return false };
    // `close` wins, wherever it is.
    other.is_reusable &=
        !list(headers, &header::CONNECTION).any(|option| option.eq_ignore_ascii_case("close"));
    let is_chunked = headers.contains_key(header::TRANSFER_ENCODING);
    let lengths: Vec<_> = list(headers, &header::CONTENT_LENGTH).map(str::to_owned).collect();
    match status.as_u16() {
        // A body was announced, and none may follow.
        204 => other.is_reusable &= !is_chunked && lengths.iter().all(|length| length == "0"),
        101 | 304 => {}
        _ if method == Method::HEAD => {}
        // What the chunks contradict does not travel on.
        _ if is_chunked => other.is_reusable &= headers.remove(header::CONTENT_LENGTH).is_none(),
        // A length that is repeated becomes one.
        _ if lengths.len() > 1 => {
            let length = lengths[0].parse::<u64>().unwrap();
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        _ => {}
    }
    // hyper accepts zeros before a size that make it longer than 16 digits, ...
    let is_long = |line: &[u8]| line.len() > 16 && line[..17].iter().all(u8::is_ascii_hexdigit);
    let has_long_size = text.split(|&byte| byte == b'\n').any(is_long);
    // ... and trailers with a line that ends without CR, which may end all of them.
    let has_bare_lf = text.windows(2).any(|pair| pair[0] != b'\r' && pair[1] == b'\n');
    ours.end == End::Failed
        && ours.head == other.head
        && (has_long_size && other.data.starts_with(&ours.data)
            || has_bare_lf && other.data == ours.data && other.end != End::Failed)
}

fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter();
    lines.flat_map(|line| line.to_str().unwrap_or("?").split(',').map(str::trim_ascii))
}

fn sent() -> impl Strategy<Value = Sent> {
    let method = prop_oneof![4 => Just(Method::GET), 1 => Just(Method::HEAD), 1 => Just(Method::POST)];
    let mutations = prop::collection::vec(mutation(), 0..4);
    (method, response(), mutations, any::<Vec<prop::sample::Index>>(), any::<bool>()).prop_map(
        |(method, mut text, mutations, cuts, close)| {
            for mutation in mutations {
                mutation.apply(&mut text);
            }
            Sent { method, text, cuts, close }
        },
    )
}

proptest! {
    // `PROPTEST_CASES` may ask for more.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(1_000)))]

    #[test]
    fn a_response_means_the_same_to_hyper(sent in sent()) {
        sent.check()?;
    }
}

#[test]
fn a_response_with_another_line_means_the_same_to_hyper() {
    for response in RESPONSES {
        for at in line_starts(response.as_bytes()) {
            for line in LINES {
                let text = [&response[..at], line, &response[at..]].concat().into_bytes();
                Sent::new(text, false).check().unwrap();
            }
        }
    }
}

#[test]
fn a_response_with_another_byte_means_the_same_to_hyper() {
    for response in RESPONSES {
        for at in 0..response.len() {
            for byte in *b"\0\r\n 1" {
                let mut text = response.as_bytes().to_vec();
                text[at] = byte;
                // Closed, because hyper may wait for the end of what we refuse.
                Sent::new(text, byte != b'1').check().unwrap();
            }
        }
    }
}

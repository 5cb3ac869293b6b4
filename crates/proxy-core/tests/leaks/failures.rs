//! Every way in which a connection through the proxy fails that we know of, and what both sides see of it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use proxy_core::{Body, BodyError};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    proxy::{CARELESS_HOST, CLOSED_HOST, FULL_HOST, HOST, Proxy, Upstreams},
    script::{Side, Step, Step::*},
};

/// Long enough for a busy machine. A connection that behaves never takes this long.
const PATIENCE: Duration = Duration::from_secs(20);
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
const UPGRADE: &str = "Connection: upgrade\r\nUpgrade: x\r\n";
const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const MEBIBYTE: usize = 1 << 20;

/// One way to fail.
pub(crate) struct Failure {
    pub(crate) name: &'static str,
    client: Client,
    upstream: Vec<Step>,
    /// The proxy whose timeouts suit it.
    proxy: fn(&Proxy) -> SocketAddr,
}

impl Failure {
    /// It lasts until the client has had enough time.
    fn hurries_client(mut self) -> Self {
        self.proxy = |proxy| proxy.hurries_clients;
        self
    }

    /// It lasts until the upstream has had enough time.
    fn hurries_upstream(mut self) -> Self {
        self.proxy = |proxy| proxy.hurries_upstreams;
        self
    }
}

enum Client {
    Script(Vec<Step>),
    /// A client of HTTP/2, and the path that selects the upstream's script.
    Http2(fn(SendRequest<Body>, String) -> BoxFuture<'static, Result<(), String>>),
}

/// Returns all failures.
pub(crate) fn all() -> Vec<Failure> {
    [of_the_upstream(), of_the_client(), of_uploads(), of_upgrades(), of_http2()]
        .into_iter()
        .flatten()
        .collect()
}

fn of_the_upstream() -> Vec<Failure> {
    let answer = |text: &str| vec![Send(text.into())];
    let answer_and = |text: &str, then| vec![Send(text.into()), then];
    let get = |status| vec![request("GET", ""), Until(status)];
    let get_cut = |part, rest| vec![request("GET", ""), Until(part), EndsWithout(rest)];
    vec![
        script("connection refused", vec![request_to(CLOSED_HOST, "GET", ""), Until("HTTP/1.1 502")], vec![]),
        script(
            "connection never made",
            vec![request_to(FULL_HOST, "GET", ""), Until("HTTP/1.1 504")],
            vec![],
        )
        .hurries_upstream(),
        script("closed before the response", get("HTTP/1.1 502"), vec![]),
        script("reset before the response", get("HTTP/1.1 502"), vec![Reset]),
        script("never answered", get("HTTP/1.1 504"), vec![Ends]).hurries_upstream(),
        script("closed in the head", get("HTTP/1.1 502"), answer("HTTP/1.1 200 OK\r\nContent-")),
        script("reset in the head", get("HTTP/1.1 502"), answer_and("HTTP/1.1 200 OK\r\nContent-", Reset)),
        script("half a head, and then nothing", get("HTTP/1.1 504"), answer_and("HTTP/1.1 200 OK\r\n", Ends))
            .hurries_upstream(),
        script("not HTTP", get("HTTP/1.1 502"), answer_and("220 mail.example.org ESMTP\r\n\r\n", Ends)),
        script(
            "a head without an end",
            get("HTTP/1.1 502"),
            vec![Send("HTTP/1.1 200 OK\r\nX-Long: ".into()), SendBytes(2 * MEBIBYTE), Ends],
        ),
        script(
            "closed in a sized body",
            get_cut("part", "rest"),
            answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"),
        ),
        script(
            "reset in a sized body",
            vec![request("GET", ""), EndsWithout("rest")],
            answer_and("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart", Reset),
        ),
        script(
            "closed in a chunked body",
            get_cut("part", "0\r\n\r\n"),
            answer(&format!("{CHUNKED}4\r\npart\r\n")),
        ),
        script(
            "reset in a chunked body",
            vec![request("GET", ""), EndsWithout("0\r\n\r\n")],
            answer_and(&format!("{CHUNKED}4\r\npart\r\n"), Reset),
        ),
        script(
            "a malformed chunk",
            get_cut("part", "0\r\n\r\n"),
            answer_and(&format!("{CHUNKED}4\r\npart\r\nzz\r\nno\r\n"), Ends),
        ),
        script(
            "closed after the response",
            vec![
                request_to(CARELESS_HOST, "GET", ""),
                Until("ok"),
                request_to(CARELESS_HOST, "GET", ""),
                Until("ok"),
            ],
            answer(OK),
        ),
        script(
            "half-closed after the response",
            vec![request_to(CARELESS_HOST, "GET", ""), Until("ok")],
            vec![Send(OK.into()), Shutdown, Ends],
        ),
        script(
            "a response that is longer than announced",
            vec![request_to(CARELESS_HOST, "GET", ""), Until("ok")],
            answer_and(&format!("{OK}HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"), Ends),
        ),
    ]
}

fn of_the_client() -> Vec<Failure> {
    let sends = |text: &str, then| vec![Send(text.into()), then];
    let get_and = |then| vec![request("GET", ""), then];
    vec![
        script("a client that sends nothing and closes", vec![], vec![]),
        script("a client that sends nothing and resets", vec![Reset], vec![]),
        script("a client that sends nothing and waits", vec![Ends], vec![]).hurries_client(),
        script("a client that sends half a head and closes", sends("GET / HTTP/1.1\r\nHo", Shutdown), vec![]),
        script("a client that sends half a head and waits", sends("GET / HTTP/1.1\r\nHo", Ends), vec![])
            .hurries_client(),
        script("a client that does not speak HTTP", sends("\x01\x02\x03\r\n\r\n", Ends), vec![]),
        script("a client that speaks TLS", sends("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", Ends), vec![])
            .hurries_client(),
        script(
            "an overlong head",
            vec![Send("GET / HTTP/1.1\r\nX-Long: ".into()), SendBytes(MEBIBYTE), EndsWithout("200 OK")],
            vec![],
        ),
        script("an unknown host", vec![request_to("evil.example", "GET", ""), Until("HTTP/1.1 421")], vec![]),
        script("gone before the response", get_and(Reset), vec![Ends]),
        script("closed before the response", vec![request("GET", "")], vec![Ends]),
        script("half-closed before the response", vec![request("GET", ""), Shutdown, Ends], vec![Ends]),
        script("gone during events", get_and(Until("data: 1")), vec![Send(EVENTS.into()), Ends]),
        script(
            "reset during events",
            vec![request("GET", ""), Until("data: 1"), Reset],
            vec![Send(EVENTS.into()), Ends],
        ),
        script(
            "gone during a download that is not read",
            get_and(Until("HTTP/1.1 200")),
            vec![
                Send("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n".into()),
                SendBytes(99_999_999),
                Ends,
            ],
        ),
        script(
            "a slow reader",
            vec![request("GET", ""), Until("\r\n\r\n"), ReadSlowly(64 * 1024)],
            vec![Send("HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n".into()), SendBytes(65_536), Next],
        ),
        script(
            "a slow writer",
            vec![request("POST", "Content-Length: 40\r\n"), SendSlowly("x".repeat(39) + "!"), Until("ok")],
            vec![Until("!"), Send(OK.into()), Next],
        ),
        script(
            "pipelined requests, and gone",
            vec![request("GET", ""), request("GET", ""), request("GET", "")],
            vec![Send(OK.into()), Next],
        ),
        script(
            "HTTP/1.0",
            vec![
                Send(format!(
                    "GET /@ HTTP/1.0\r\nHost: {HOST}\r\nX-Auth-Request-Email: alice@example.com\r\n\r\n"
                )),
                Until("ok"),
                Ends,
            ],
            vec![Send(OK.into()), Next],
        ),
    ]
}

fn of_uploads() -> Vec<Failure> {
    let sized = |count: usize| request("POST", &format!("Content-Length: {count}\r\n"));
    let chunked = || request("POST", "Transfer-Encoding: chunked\r\n");
    let part = || Send("4\r\npart\r\n".into());
    let denied = "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    vec![
        script("an upload that is cut", vec![sized(100), Send("part".into()), Shutdown, Ends], vec![Ends]),
        script("an upload that is reset", vec![sized(100), Send("part".into()), Reset], vec![Ends]),
        script(
            "an upload that stalls",
            vec![sized(100), Send("part".into()), Until("HTTP/1.1 504")],
            vec![Ends],
        )
        .hurries_upstream(),
        script(
            "a chunked upload that is cut",
            vec![chunked(), part(), Shutdown, Ends],
            vec![EndsWithout("0\r\n\r\n")],
        ),
        script(
            "a chunked upload that is reset",
            vec![chunked(), part(), Reset],
            vec![EndsWithout("0\r\n\r\n")],
        ),
        script(
            "a malformed chunked upload",
            vec![chunked(), part(), Send("zz\r\n".into()), Until("HTTP/1.1 400"), Ends],
            vec![EndsWithout("0\r\n\r\n")],
        ),
        script(
            "two framings",
            vec![
                request("POST", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
                Until("HTTP/1.1 400"),
                Ends,
            ],
            vec![],
        ),
        script(
            "an upload that the upstream resets",
            vec![sized(8 * MEBIBYTE), SendBytes(8 * MEBIBYTE), EndsWithout("200 OK")],
            vec![ReadSlowly(4 * 1024), Reset],
        ),
        script(
            "an upload that the upstream never reads",
            vec![sized(64 * MEBIBYTE), SendBytes(MEBIBYTE), Until("HTTP/1.1 504")],
            vec![Ends],
        )
        .hurries_upstream(),
        script(
            "an upload that is denied",
            vec![sized(8 * MEBIBYTE), Until("HTTP/1.1 413")],
            vec![Send(denied.into())],
        ),
        script(
            "an upload that continues after its response",
            vec![sized(4), Until("ok"), Send("late".into())],
            vec![Send(OK.into()), Until("late"), Next],
        ),
        script(
            "an upload that ends after its response",
            vec![sized(4), Until("ok"), Reset],
            vec![Send(OK.into()), Ends],
        ),
        script(
            "an expectation that is not met",
            vec![request("POST", "Content-Length: 4\r\nExpect: 100-continue\r\n"), Until("HTTP/1.1 417")],
            vec![Send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n".into()), Ends],
        ),
    ]
}

fn of_upgrades() -> Vec<Failure> {
    let upgraded = |mut then: Vec<Step>| {
        then.splice(0..0, [request("GET", UPGRADE), Until("HTTP/1.1 101"), Until("\r\n\r\n")]);
        then
    };
    let switched = |mut then: Vec<Step>| {
        then.insert(0, Send(SWITCH.into()));
        then
    };
    let refused = |status| vec![request("GET", UPGRADE), Until(status)];
    vec![
        script(
            "an upgrade that is refused",
            refused("HTTP/1.1 400"),
            vec![Send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".into()), Next],
        ),
        script(
            "an upgrade that is answered with a page",
            refused("HTTP/1.1 200"),
            vec![Send(OK.into()), Next],
        ),
        script("an upgrade that is never answered", refused("HTTP/1.1 504"), vec![Ends]).hurries_upstream(),
        script(
            "an upgrade that is answered in part",
            refused("HTTP/1.1 502"),
            vec![Send(SWITCH[..40].into())],
        ),
        script("an upgrade whose client leaves", vec![request("GET", UPGRADE), Reset], vec![Ends]),
        script(
            "an upgrade that nobody asked for",
            vec![request("GET", ""), Until("HTTP/1.1 502")],
            switched(vec![Ends]),
        ),
        script(
            "a tunnel whose client leaves",
            upgraded(vec![Send("x".into())]),
            switched(vec![Until("x"), Ends]),
        ),
        script("a tunnel whose client resets", upgraded(vec![Send("x".into()), Reset]), switched(vec![Ends])),
        script(
            "a tunnel whose upstream leaves",
            upgraded(vec![Until("x"), Ends]),
            switched(vec![Send("x".into())]),
        ),
        script("a tunnel whose upstream resets", upgraded(vec![Ends]), switched(vec![Reset])),
        script(
            "a tunnel that the client half-closes",
            upgraded(vec![Send("from the client".into()), Shutdown, Until("from the upstream"), Ends]),
            switched(vec![Until("from the client"), Ends, Send("from the upstream".into())]),
        ),
        script(
            "a tunnel that the upstream half-closes",
            upgraded(vec![Until("from the upstream"), Ends, Send("from the client".into())]),
            switched(vec![Send("from the upstream".into()), Shutdown, Until("from the client"), Ends]),
        ),
        script(
            "a tunnel whose client never reads",
            upgraded(vec![]),
            switched(vec![SendBytes(64 * MEBIBYTE), Ends]),
        ),
        script(
            "a tunnel whose upstream never reads",
            upgraded(vec![SendBytes(MEBIBYTE), Reset]),
            switched(vec![ReadSlowly(1024), Reset]),
        ),
    ]
}

fn of_http2() -> Vec<Failure> {
    let events = || vec![Send(EVENTS.into()), Ends];
    vec![
        script(
            "HTTP/2 with a broken preface",
            vec![Send("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".into()), Ends],
            vec![],
        ),
        script("HTTP/2 without a frame", vec![Send(PREFACE.into()), Ends], vec![]).hurries_client(),
        script(
            "HTTP/2 with broken frames",
            vec![Send(format!("{PREFACE}{}", "\x7f".repeat(64))), Ends],
            vec![],
        ),
        http2("a stream that is reset during events", events(), |mut sender, path| {
            Box::pin(async move {
                let mut body = send(&mut sender, get(&path)).await?.into_body();
                body.frame().await.ok_or("no event")?.map_err(|error| error.to_string())?;
                Ok(())
            })
        }),
        http2("a connection that ends with five streams", events(), |sender, path| {
            Box::pin(async move {
                let requests = (0..5).map(|_| {
                    let (mut sender, request) = (sender.clone(), get(&path));
                    async move { send(&mut sender, request).await }
                });
                let responses = futures_util::future::try_join_all(requests).await?;
                drop((responses, sender));
                Ok(())
            })
        }),
        http2(
            "a stream that is never read",
            vec![
                Send("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n".into()),
                SendBytes(99_999_999),
                Ends,
            ],
            |mut sender, path| {
                Box::pin(async move {
                    let response = send(&mut sender, get(&path)).await?;
                    // Another stream of the connection is not held up.
                    let other =
                        Request::get("https://example.org/").body(Body::empty()).expect("it is valid");
                    let other = send(&mut sender, other).await?;
                    other.into_body().collect().await.map_err(|error| error.to_string())?;
                    drop(response);
                    Ok(())
                })
            },
        ),
        http2("an upload whose stream is reset", vec![EndsWithout("0\r\n\r\n")], |mut sender, path| {
            Box::pin(async move {
                let frames = [Ok(http_body::Frame::data("part".into())), Err::<_, BodyError>("gone".into())];
                let body = Body::new(http_body_util::StreamBody::new(stream::iter(frames)));
                match send(&mut sender, http2_request("POST", &path, body)).await {
                    Ok(response) => Err(format!("answered {}", response.status())),
                    Err(_) => Ok(()),
                }
            })
        }),
        http2("a response that is cut", vec![Send(format!("{CHUNKED}4\r\npart\r\n"))], |mut sender, path| {
            Box::pin(async move {
                // The reset may overtake the head.
                let Ok(response) = send(&mut sender, get(&path)).await else { return Ok(()) };
                let collected = response.into_body().collect().await;
                collected.map_or(Ok(()), |_| Err("a truncated response is complete".into()))
            })
        }),
        http2("a stream that is reset before the response", vec![Ends], |mut sender, path| {
            Box::pin(async move {
                let response = timeout(Duration::from_millis(5), send(&mut sender, get(&path))).await;
                response.map_or(Ok(()), |response| response.map(drop))
            })
        }),
    ]
}

fn script(name: &'static str, client: Vec<Step>, upstream: Vec<Step>) -> Failure {
    Failure { name, client: Client::Script(client), upstream, proxy: |proxy| proxy.patient }
}

fn http2(
    name: &'static str,
    upstream: Vec<Step>,
    client: fn(SendRequest<Body>, String) -> BoxFuture<'static, Result<(), String>>,
) -> Failure {
    Failure { name, client: Client::Http2(client), upstream, proxy: |proxy| proxy.patient }
}

fn head(host: &str, method: &str, lines: &str) -> String {
    format!("{method} /@ HTTP/1.1\r\nHost: {host}\r\nX-Auth-Request-Email: alice@example.com\r\n{lines}\r\n")
}

fn request(method: &str, lines: &str) -> Step {
    request_to(HOST, method, lines)
}

fn request_to(host: &str, method: &str, lines: &str) -> Step {
    Send(head(host, method, lines))
}

fn get(path: &str) -> Request<Body> {
    http2_request("GET", path, Body::empty())
}

fn http2_request(method: &str, path: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(format!("https://{HOST}{path}"))
        .header("x-auth-request-email", "alice@example.com")
        .body(body)
        .expect("it is valid")
}

async fn send(sender: &mut SendRequest<Body>, request: Request<Body>) -> Result<Response<Incoming>, String> {
    sender.send_request(request).await.map_err(|error| error.to_string())
}

/// The upstreams, which play their side of each failure.
pub(crate) struct TestUpstreams {
    pub(crate) addresses: Upstreams,
    /// What went wrong.
    errors: Arc<Mutex<Vec<String>>>,
    open: Arc<AtomicUsize>,
    _held: (TcpSocket, std::net::TcpListener, Vec<std::net::TcpStream>),
}

impl TestUpstreams {
    /// Starts the upstreams of these failures.
    pub(crate) async fn start(failures: Arc<Vec<Failure>>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let careless = TcpListener::bind("127.0.0.1:0").await?;
        // A socket that is bound and does not listen refuses connections, and keeps its port.
        let closed = TcpSocket::new_v4()?;
        closed.bind("127.0.0.1:0".parse().expect("it is valid"))?;
        let full = TcpSocket::new_v4()?;
        full.bind("127.0.0.1:0".parse().expect("it is valid"))?;
        let full = full.listen(1)?.into_std()?;
        let addresses = Upstreams {
            session: listener.local_addr()?,
            careless: careless.local_addr()?,
            closed: closed.local_addr()?,
            full: full.local_addr()?,
        };
        let mut queue = Vec::new();
        while let Ok(stream) =
            std::net::TcpStream::connect_timeout(&addresses.full, Duration::from_millis(200))
        {
            queue.push(stream);
        }
        let errors = Arc::<Mutex<Vec<String>>>::default();
        let open = Arc::<AtomicUsize>::default();
        for listener in [listener, careless] {
            tokio::spawn(accept(listener, failures.clone(), errors.clone(), open.clone()));
        }
        Ok(Self { addresses, errors, open, _held: (closed, full, queue) })
    }

    /// Returns the number of connections that have not ended.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Returns what went wrong.
    pub(crate) fn errors(&self) -> Vec<String> {
        self.errors.lock().clone()
    }
}

async fn accept(
    listener: TcpListener,
    failures: Arc<Vec<Failure>>,
    errors: Arc<Mutex<Vec<String>>>,
    open: Arc<AtomicUsize>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (failures, errors, open) = (failures.clone(), errors.clone(), open.clone());
        open.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            if let Err(error) = answer(stream, &failures).await {
                errors.lock().push(error);
            }
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Plays the upstream's side of the failure that the path names, then of the connection's next one.
async fn answer(stream: TcpStream, failures: &[Failure]) -> Result<(), String> {
    let mut side = Side::new(stream);
    while let Ok(head) = side.until("\r\n\r\n").await {
        let number = head.split(['/', ' ']).nth(2).and_then(|number| number.parse::<usize>().ok());
        let failure =
            number.and_then(|number| failures.get(number)).ok_or_else(|| format!("received {head}"))?;
        let played = timeout(PATIENCE, side.play(&failure.upstream, "")).await;
        played
            .map_err(|_| "timed out".to_owned())
            .flatten()
            .map_err(|error| format!("{}, upstream: {error}", failure.name))?;
        if !matches!(failure.upstream.last(), Some(Next)) {
            return Ok(());
        }
    }
    Ok(())
}

/// Fails `count` times in each way, at most `at_once` at the same time.
///
/// # Errors
/// What went wrong, if the client did not see what it should.
pub(crate) async fn run(
    proxy: &Proxy,
    failures: &Arc<Vec<Failure>>,
    count: usize,
    at_once: usize,
) -> Result<(), String> {
    let numbers = (0..count).flat_map(|_| 0..failures.len());
    let mut results = stream::iter(numbers)
        .map(|number| {
            let failures = failures.clone();
            let proxy = (failures[number].proxy)(proxy);
            // Spawned, so that all processors take part.
            tokio::spawn(async move {
                let failure = &failures[number];
                let failed = timeout(PATIENCE, fail(proxy, failure, number)).await;
                failed
                    .map_err(|_| "timed out".to_owned())
                    .flatten()
                    .map_err(|error| format!("{}, client: {error}", failure.name))
            })
        })
        .buffer_unordered(at_once);
    while let Some(result) = results.next().await {
        result.map_err(|error| error.to_string())??;
    }
    Ok(())
}

async fn fail(proxy: SocketAddr, failure: &Failure, number: usize) -> Result<(), String> {
    let path = format!("/{number}");
    let stream = TcpStream::connect(proxy).await.map_err(|error| format!("connecting: {error}"))?;
    match &failure.client {
        Client::Script(steps) => Side::new(stream).play(steps, &path).await,
        Client::Http2(client) => {
            let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
            let (sender, connection) = handshake.await.map_err(|error| error.to_string())?;
            let connection = tokio::spawn(connection);
            let result = client(sender, path).await;
            connection.abort();
            result
        }
    }
}

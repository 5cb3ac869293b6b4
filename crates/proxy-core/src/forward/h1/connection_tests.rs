use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_body_util::{Full, StreamBody};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    sync::mpsc,
};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);

fn pair(capacity: usize) -> (Connection, DuplexStream) {
    let (stream, session) = duplex(capacity);
    (Connection::new(UpstreamStream::new(stream), TIMEOUT), session)
}

fn get() -> Request<Body> {
    Request::get("/").body(Body::empty()).unwrap()
}

fn post(frames: mpsc::Receiver<&'static str>) -> Request<Body> {
    let frames = stream::unfold(frames, |mut frames| async {
        let data = frames.recv().await?;
        Some((Ok::<_, io::Error>(Frame::data(Bytes::from(data))), frames))
    });
    Request::post("/").body(Body::new(StreamBody::new(frames))).unwrap()
}

/// Reads until what was read ends with `end`.
async fn read_until(session: &mut DuplexStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        text.push(char::from(session.read_u8().await.unwrap()));
    }
    text
}

/// Returns the body's data, and the trailer `x`.
async fn body(connection: &mut Connection) -> Result<(String, Option<String>), Error> {
    let (mut data, mut trailer) = (Vec::new(), None);
    while let Some(frame) = poll_fn(|context| connection.poll_frame(context)).await {
        match frame?.into_data() {
            Ok(bytes) => data.extend_from_slice(&bytes),
            Err(frame) => trailer = Some(frame.trailers_ref().unwrap()["x"].to_str().unwrap().to_owned()),
        }
    }
    Ok((String::from_utf8(data).unwrap(), trailer))
}

/// Sends `method /`, has the session send `pieces` and, if `close`, no more. Returns the response, its body
/// and whether the connection can be used again.
async fn exchange(
    method: &str,
    pieces: &[&[u8]],
    close: bool,
) -> (Response<()>, Result<String, Error>, bool) {
    let (mut connection, mut session) = pair(64 * 1024);
    let request = Request::builder().method(method).uri("/").body(Body::empty()).unwrap();
    let respond = async {
        read_until(&mut session, "\r\n\r\n").await;
        for piece in pieces {
            session.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        if close {
            session.shutdown().await.unwrap();
        }
        session
    };
    let receive = async {
        let response = connection.send(request, None).await.unwrap();
        let body = body(&mut connection).await.map(|(data, _)| data);
        (response, body)
    };
    let ((response, body), _session) = tokio::join!(receive, respond);
    (response, body, connection.is_open())
}

#[tokio::test]
async fn responses_are_framed() {
    for (method, text, close, expected, is_open) in [
        ("GET", "200 OK\r\ncontent-length: 2\r\n\r\nab", false, Some("ab"), true),
        ("GET", "200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nab", false, Some("ab"), false),
        ("GET", "200 OK\r\ncontent-length: 2\r\n\r\nab", true, Some("ab"), false),
        ("GET", "200 OK\r\ncontent-length: 2\r\n\r\nabc", false, Some("ab"), false),
        ("GET", "200 OK\r\ncontent-length: 3\r\n\r\nab", true, None, false),
        ("GET", "200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", false, Some("ab"), true),
        ("GET", "200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n", true, None, false),
        ("GET", "200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabX", false, None, false),
        ("GET", "200 OK\r\n\r\nab", true, Some("ab"), false),
        ("GET", "204 No Content\r\n\r\n", false, Some(""), true),
        ("GET", "304 Not Modified\r\ncontent-length: 5\r\n\r\n", false, Some(""), true),
        ("HEAD", "200 OK\r\ncontent-length: 5\r\n\r\n", false, Some(""), true),
        ("HEAD", "200 OK\r\n\r\nsurplus", false, Some(""), false),
    ] {
        let text = format!("HTTP/1.1 {text}");
        let (_, body, open) = exchange(method, &[text.as_bytes()], close).await;
        assert_eq!((body.ok().as_deref(), open), (expected, is_open), "{text:?}");
    }
}

#[tokio::test]
async fn interim_responses_are_skipped() {
    let text = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n\
        HTTP/1.1 204 No Content\r\n\r\n";
    for cut in 0..text.len() {
        let (response, ..) = exchange("GET", &[&text[..cut], &text[cut..]], false).await;
        assert_eq!(response.status(), 204);
        assert!(response.headers().is_empty());
    }
}

#[tokio::test]
async fn interim_responses_are_bounded() {
    let (mut connection, mut session) = pair(1024);
    let respond = async move {
        read_until(&mut session, "\r\n\r\n").await;
        let interim = b"HTTP/1.1 102 Processing\r\n\r\n";
        for _ in 0..=head::MAX_LENGTH / interim.len() {
            let _written = session.write_all(interim).await;
        }
        let _written = session.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    };
    let (result, ()) = tokio::join!(connection.send(get(), None), respond);
    let Err(SendError::Failed(error)) = result else { panic!("{result:?}") };
    assert!(error.is_parse(), "{error}");
}

#[tokio::test]
async fn a_task_that_is_to_yield_sees_that_a_connection_was_closed() {
    let (mut connection, session) = pair(1024);
    drop(session);
    // From then on, tokio's streams are pending.
    while tokio::task::coop::has_budget_remaining() {
        tokio::task::consume_budget().await;
    }
    assert!(matches!(connection.send(get(), None).await, Err(SendError::Unsent(_))));
}

#[tokio::test]
async fn a_connection_is_used_again_and_keeps_no_buffer() {
    let (mut connection, mut session) = pair(64 * 1024);
    for _ in 0..3 {
        let respond = async {
            let head = read_until(&mut session, "\r\n\r\n").await;
            assert_eq!(head, "GET / HTTP/1.1\r\n\r\n");
            session.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab").await.unwrap();
        };
        let (response, ()) = tokio::join!(connection.send(get(), None), respond);
        assert_eq!(response.unwrap().status(), 200);
        assert!(!connection.is_idle());
        assert_eq!(body(&mut connection).await.unwrap(), ("ab".to_owned(), None));
        assert!(connection.is_open());
        assert!(connection.output.is_empty() && connection.input.is_empty());
    }
    drop(session);
    assert!(matches!(connection.send(get(), None).await, Err(SendError::Unsent(_))));
}

#[tokio::test]
async fn a_connection_that_ends_before_the_response_is_no_parse_error() {
    for (text, is_parse) in [("", false), ("HTTP/1.1 2", false), ("SSH-2.0\r\n", true)] {
        let (mut connection, mut session) = pair(1024);
        let respond = async {
            read_until(&mut session, "\r\n\r\n").await;
            session.write_all(text.as_bytes()).await.unwrap();
            drop(session);
        };
        let (result, ()) = tokio::join!(connection.send(get(), None), respond);
        let Err(SendError::Failed(error)) = result else { panic!("{text:?}: {result:?}") };
        assert_eq!(error.is_parse(), is_parse, "{text:?}: {error}");
        assert!(!connection.is_idle());
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_never_responds_times_out() {
    let (mut connection, _session) = pair(1024);
    assert!(matches!(connection.send(get(), None).await, Err(SendError::TimedOut)));
    assert!(!connection.is_idle());
}

#[tokio::test]
async fn an_upload_is_chunked_and_may_have_trailers() {
    let (mut connection, mut session) = pair(64 * 1024);
    let mut fields = http::HeaderMap::new();
    fields.insert("x-sum", "1".parse().unwrap());
    let frames = [Frame::data(Bytes::from("hello")), Frame::data(Bytes::new()), Frame::trailers(fields)];
    let stream = stream::iter(frames).map(Ok::<_, io::Error>);
    let request = Request::put("/").body(Body::new(StreamBody::new(stream))).unwrap();
    let respond = async {
        let text = read_until(&mut session, "x-sum: 1\r\n\r\n").await;
        let expected =
            "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n";
        assert_eq!(text, expected);
        let text = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: 2\r\n\r\n";
        session.write_all(text).await.unwrap();
    };
    let (response, ()) = tokio::join!(connection.send(request, None), respond);
    response.unwrap();
    assert_eq!(body(&mut connection).await.unwrap(), (String::new(), Some("2".to_owned())));
    assert!(connection.is_open());
}

#[tokio::test]
async fn an_upload_of_known_length_is_sent_with_its_head() {
    let (mut connection, mut session) = pair(64 * 1024);
    let request = Request::put("/").body(Body::new(Full::from("hello"))).unwrap();
    assert!(connection.send(request, None).now_or_never().is_none());
    let text = read_until(&mut session, "hello").await;
    assert_eq!(text, "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello");
}

#[tokio::test]
async fn an_upload_of_the_wrong_length_fails() {
    for length in ["4", "6"] {
        let (mut connection, _session) = pair(1024);
        let stream = stream::iter([Ok::<_, io::Error>(Frame::data(Bytes::from("hello")))]);
        let request = Request::put("/").header("content-length", length);
        let request = request.body(Body::new(StreamBody::new(stream))).unwrap();
        let result = connection.send(request, None).await;
        assert!(matches!(result, Err(SendError::Failed(Error::Upload(_)))), "{result:?}");
    }
}

#[tokio::test]
async fn a_response_may_precede_the_end_of_the_upload() {
    let (mut connection, mut session) = pair(64 * 1024);
    let (sender, frames) = mpsc::channel(1);
    sender.send("first").await.unwrap();
    let respond = async {
        read_until(&mut session, "first\r\n").await;
        session.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    };
    let (response, ()) = tokio::join!(connection.send(post(frames), None), respond);
    response.unwrap();
    assert_eq!(body(&mut connection).await.unwrap().0, "ok");
    assert!(connection.has_received() && !connection.has_sent() && !connection.is_idle());
    let finish = async {
        sender.send("last").await.unwrap();
        drop(sender);
        assert_eq!(read_until(&mut session, "\r\n0\r\n\r\n").await, "4\r\nlast\r\n0\r\n\r\n");
    };
    let (is_idle, ()) = tokio::join!(connection.idle(), finish);
    assert!(is_idle);
}

/// Receives all, and fails to send more than the first bytes.
struct HalfClosed(DuplexStream, usize);

impl tokio::io::AsyncRead for HalfClosed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl tokio::io::AsyncWrite for HalfClosed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let length = bytes.len().min(self.1);
        if length == 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.1 -= length;
        Pin::new(&mut self.0).poll_write(context, &bytes[..length])
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_response_is_received_though_the_upload_cannot_be_sent() {
    let (stream, mut session) = duplex(1024);
    let mut connection = Connection::new(UpstreamStream::new(HalfClosed(stream, 10)), TIMEOUT);
    let request = Request::put("/").body(Body::new(Full::from("hello"))).unwrap();
    let respond = async {
        session.read_exact(&mut [0; 10]).await.unwrap();
        session.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    };
    let (response, ()) = tokio::join!(connection.send(request, None), respond);
    assert_eq!(response.unwrap().status(), 413);
    assert!(!connection.is_idle());
}

#[tokio::test]
async fn a_response_is_received_though_the_upload_never_pauses() {
    let (stream, mut session) = duplex(1024);
    let stream = UpstreamStream::new(tokio::io::join(stream, tokio::io::sink()));
    let mut connection = Connection::new(stream, TIMEOUT);
    let endless = stream::repeat_with(|| Ok::<_, io::Error>(Frame::data(Bytes::from_static(b"piece"))));
    let request = Request::post("/").body(Body::new(StreamBody::new(endless))).unwrap();
    let respond = tokio::spawn(async move {
        session.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
        session
    });
    let receive = async {
        let response = connection.send(request, None).await.unwrap();
        (response.status(), body(&mut connection).await.unwrap().0)
    };
    let (status, body) = tokio::time::timeout(TIMEOUT, receive).await.unwrap();
    assert_eq!((status.as_u16(), body.as_str()), (413, "no"));
    respond.await.unwrap();
}

#[tokio::test]
async fn an_upload_waits_for_a_session_that_does_not_read() {
    let (mut connection, _session) = pair(1024);
    static PIECE: [u8; 1000] = [b'a'; 1000];
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = asked.clone();
    let stream = stream::repeat_with(move || {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok::<_, io::Error>(Frame::data(Bytes::from_static(&PIECE)))
    });
    let request = Request::post("/").body(Body::new(StreamBody::new(stream))).unwrap();
    assert!(connection.send(request, None).now_or_never().is_none());
    assert!(asked.load(std::sync::atomic::Ordering::Relaxed) <= 3);
}

#[tokio::test]
async fn an_upgraded_connection_returns_what_was_received() {
    let (mut connection, mut session) = pair(1024);
    let respond = async {
        read_until(&mut session, "\r\n\r\n").await;
        session.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\nframes").await.unwrap();
    };
    let (response, ()) = tokio::join!(connection.send(get(), None), respond);
    assert_eq!(response.unwrap().status(), 101);
    assert!(!connection.is_idle());
    let (mut stream, received) = connection.into_stream();
    assert_eq!(received, "frames");
    session.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
}

/// Returns the status and the body that are received when the session sends `pieces` and closes.
async fn outcome<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<(u16, Option<Vec<u8>>)> {
    let (mut connection, mut session) = pair(64 * 1024);
    let respond = async {
        read_until(&mut session, "\r\n\r\n").await;
        for piece in pieces {
            let _written = session.write_all(piece).await;
            tokio::task::yield_now().await;
        }
        drop(session);
    };
    let receive = async {
        let response = connection.send(get(), None).await.ok()?;
        let mut data = Some(Vec::new());
        while let Some(frame) = poll_fn(|context| connection.poll_frame(context)).await {
            match frame.map(Frame::into_data) {
                Ok(Ok(bytes)) => data.iter_mut().for_each(|data| data.extend_from_slice(&bytes)),
                Ok(Err(_)) => {}
                Err(_) => data = None,
            }
        }
        Some((response.status().as_u16(), data))
    };
    tokio::join!(receive, respond).0
}

proptest::proptest! {
    #[test]
    fn a_response_has_one_meaning_however_it_arrives(
        parts in proptest::collection::vec(
            "(HTTP/1.1 (100|103|101|200|204) OK\r\n)?(content-length: [0-9]\r\n|transfer-encoding: chunked\r\n)?\
             (\r\n)?([1-4]\r\n[ -~]{3}\r\n|0\r\n\r\n|[ -~]{0,5})?",
            1..5,
        ),
        cuts: Vec<proptest::sample::Index>,
    ) {
        let text = parts.concat().into_bytes();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|ends| &text[ends[0]..ends[1]]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let split = runtime.block_on(outcome(pieces.filter(|piece| !piece.is_empty())));
        proptest::prop_assert_eq!(split, runtime.block_on(outcome([&*text])));
    }
}

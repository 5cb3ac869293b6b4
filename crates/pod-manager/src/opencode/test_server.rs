//! A server for tests that answers every request with the same bytes, and counts what it could send.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};

use crate::model::{Endpoint, Password};

/// What the kernel may hold of an answer that nobody reads, on either side.
const SOCKET_BUFFER: u32 = 64 * 1024;

/// The answer to every request.
#[derive(Debug, Clone, Default)]
pub(super) struct Response {
    /// Sent once.
    pub(super) head: Vec<u8>,
    /// Sent again and again after it, until the client closes the connection. Empty: the server closes it.
    pub(super) repeat: Vec<u8>,
    /// The pause before each repetition.
    pub(super) pause: Duration,
    /// The connection stays open, but nothing more is sent.
    pub(super) hang: bool,
}

impl Response {
    /// Returns a whole answer of status 200.
    pub(super) fn ok(content_type: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        Self { head: head.into(), ..Self::default() }
    }

    /// Returns a head of status 200 without a length, after which `repeat` is sent without end.
    pub(super) fn endless(headers: &str, repeat: impl Into<Vec<u8>>) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\n{headers}connection: close\r\n\r\n");
        Self { head: head.into(), repeat: repeat.into(), ..Self::default() }
    }
}

/// A running server; it ends when this is dropped.
pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    pub(super) requests: mpsc::UnboundedReceiver<String>,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    /// The most bytes sent on one connection.
    sent: AtomicUsize,
    open: AtomicUsize,
    /// The most connections open at once.
    most_open: AtomicUsize,
    accepted: AtomicUsize,
}

impl TestServer {
    pub(super) async fn start(response: Response) -> Self {
        Self::start_with(move |_, _| response.clone()).await
    }

    /// Starts a server that chooses its answer by the number of connections before this one, and by the
    /// number of connections that are open.
    pub(super) async fn start_with(response: impl Fn(usize, usize) -> Response + Send + 'static) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_send_buffer_size(SOCKET_BUFFER).expect("a small buffer");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let listener = socket.listen(64).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (sender, requests) = mpsc::unbounded_channel();
        let counts = Arc::new(Counts::default());
        let served = counts.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = served.accepted.fetch_add(1, Ordering::SeqCst);
                let open = served.open.fetch_add(1, Ordering::SeqCst) + 1;
                served.most_open.fetch_max(open, Ordering::SeqCst);
                let (counts, sender, response) = (served.clone(), sender.clone(), response(number, open));
                tokio::spawn(async move {
                    let sent = answer(stream, &response, &sender, &counts).await;
                    counts.sent.fetch_max(sent, Ordering::SeqCst);
                    counts.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, requests, counts, task }
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint { address: self.address, password: Some(Password::new("geheim")), run_id: "run".into() }
    }

    pub(super) fn most_sent(&self) -> usize {
        self.counts.sent.load(Ordering::SeqCst)
    }

    pub(super) fn most_open(&self) -> usize {
        self.counts.most_open.load(Ordering::SeqCst)
    }

    pub(super) fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads a request, answers it, and returns the number of bytes that could be sent.
async fn answer(
    mut stream: TcpStream,
    response: &Response,
    requests: &mpsc::UnboundedSender<String>,
    counts: &Counts,
) -> usize {
    let mut request = vec![0; 4096];
    let read = stream.read(&mut request).await.unwrap_or(0);
    let _ = requests.send(String::from_utf8_lossy(&request[..read]).into_owned());
    if stream.write_all(&response.head).await.is_err() {
        return response.head.len();
    }
    let mut sent = response.head.len();
    if response.hang {
        // Returns once the client closes the connection.
        let _ = stream.read(&mut request).await;
    }
    while !response.repeat.is_empty() {
        tokio::time::sleep(response.pause).await;
        match stream.write(&response.repeat).await {
            Ok(count) => sent += count,
            Err(_) => break,
        }
        counts.sent.fetch_max(sent, Ordering::SeqCst);
    }
    sent
}

//! Records the head of each HTTP/1.1 request as it arrived: hyper removes a `Content-Length` beside a
//! `Transfer-Encoding`, and such a request must be refused.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use http::{Method, Request, header};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::TcpStream,
};

/// The bytes of the head that is being received. Those of bodies and tunnels are not recorded.
#[derive(Debug, Clone)]
pub(super) struct HeadRecorder(Arc<Recording>);

#[derive(Debug)]
struct Recording {
    /// Whether the next bytes belong to a head.
    active: AtomicBool,
    head: Mutex<Vec<u8>>,
    max_head: usize,
}

impl HeadRecorder {
    /// Records heads of at most this many bytes.
    pub(super) fn new(max_head: usize) -> Self {
        Self(Arc::new(Recording { active: AtomicBool::new(true), head: Mutex::default(), max_head }))
    }

    /// Whether the HTTP/1.1 request whose head was just received has one framing: no `Content-Length` beside
    /// its `Transfer-Encoding`. hyper removes the former (as RFC 9112 §6.1 allows), so this searches the
    /// recorded head. A chunked request whose head was not recorded counts as having two: that happens only
    /// to a request that was sent before the response to the previous one.
    pub(super) fn has_one_framing<B: http_body::Body>(&self, request: &Request<B>) -> bool {
        let mut head = self.0.head.lock();
        let body_follows = !request.body().is_end_stream() || request.headers().contains_key(header::UPGRADE);
        self.0.active.store(!body_follows, Ordering::Relaxed);
        let has_one_framing = !request.headers().contains_key(header::TRANSFER_ENCODING)
            || is_chunked_only(&head, request.method());
        if body_follows {
            // Frees the buffer: a body or a tunnel may take long.
            *head = Vec::new();
        } else {
            head.clear();
        }
        has_one_framing
    }

    /// Stops recording: no heads of HTTP/1.1 follow.
    pub(super) fn stop(&self) {
        self.0.active.store(false, Ordering::Relaxed);
        *self.0.head.lock() = Vec::new();
    }

    fn record(&self, read: &[u8]) {
        let mut head = self.0.head.lock();
        if head.len() + read.len() > self.0.max_head {
            // hyper refuses a head of this length.
            *head = Vec::new();
            self.0.active.store(false, Ordering::Relaxed);
        } else {
            head.extend_from_slice(read);
        }
    }
}

/// Whether this is the head of a request with this method, and has no `Content-Length`.
fn is_chunked_only(bytes: &[u8], method: &Method) -> bool {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let mut lines = bytes[start..].split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
    let first = lines.next().unwrap_or_default();
    let is_head = first.strip_prefix(method.as_str().as_bytes()).is_some_and(|rest| rest.starts_with(b" "));
    is_head
        && lines.take_while(|line| !line.is_empty()).all(|line| {
            let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
            !name.eq_ignore_ascii_case(b"content-length")
        })
}

/// Resumes recording when dropped: held by a request's body, which the next head follows.
#[derive(Debug)]
pub(super) struct NextHead(pub(super) HeadRecorder);

impl Drop for NextHead {
    fn drop(&mut self) {
        self.0.0.head.lock().clear();
        self.0.0.active.store(true, Ordering::Relaxed);
    }
}

/// A connection whose heads a [`HeadRecorder`] records.
pub(super) struct RecordingStream {
    pub(super) stream: TokioIo<TcpStream>,
    pub(super) recorder: HeadRecorder,
}

impl Read for RecordingStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.recorder.0.active.load(Ordering::Relaxed) {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        // Reads into a separate buffer: hyper's cannot be read back without `unsafe`.
        let mut buffer = [const { MaybeUninit::uninit() }; 8 * 1024];
        let room = buf.remaining().min(buffer.len());
        let mut read = ReadBuf::uninit(&mut buffer[..room]);
        ready!(AsyncRead::poll_read(Pin::new(self.stream.inner_mut()), cx, &mut read))?;
        self.recorder.record(read.filled());
        buf.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for RecordingStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

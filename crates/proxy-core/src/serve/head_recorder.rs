//! What came over the wire, kept for one question that hyper's request no longer answers.

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

/// The bytes of the request's head that is under way; those of bodies and tunnels are not kept.
#[derive(Debug, Clone)]
pub(crate) struct HeadRecorder(Arc<State>);

#[derive(Debug)]
struct State {
    /// What comes next is a head.
    watching: AtomicBool,
    head: Mutex<Vec<u8>>,
    /// Bytes that a head may have.
    most: usize,
}

impl HeadRecorder {
    /// For heads of at most this many bytes.
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(State { watching: AtomicBool::new(true), head: Mutex::default(), most }))
    }

    /// Whether a request of HTTP/1.1 that was handed on just now has one framing: no `Content-Length` beside its
    /// `Transfer-Encoding`. hyper takes the former away (as RFC 9112 §6.1 allows), so it is looked for in the head
    /// as it came. A chunked request whose head isn't there has none that is known: that happens only to one that
    /// was sent before the answer to the request before it.
    pub(super) fn has_one_framing<B: http_body::Body>(&self, request: &Request<B>) -> bool {
        let mut head = self.0.head.lock();
        let body_follows = !request.body().is_end_stream() || request.headers().contains_key(header::UPGRADE);
        self.0.watching.store(!body_follows, Ordering::Relaxed);
        let fine = !request.headers().contains_key(header::TRANSFER_ENCODING)
            || is_chunked_only(&head, request.method());
        if body_follows {
            // A body or a tunnel may take long; its connection holds no more than it needs.
            *head = Vec::new();
        } else {
            head.clear();
        }
        fine
    }

    /// Nothing that comes is a head any more.
    pub(super) fn ignore(&self) {
        self.0.watching.store(false, Ordering::Relaxed);
        *self.0.head.lock() = Vec::new();
    }

    fn keep(&self, read: &[u8]) {
        let mut head = self.0.head.lock();
        if head.len() + read.len() > self.0.most {
            // No head is that long: hyper refuses it.
            *head = Vec::new();
            self.0.watching.store(false, Ordering::Relaxed);
        } else {
            head.extend_from_slice(read);
        }
    }
}

/// Whether this is the head of a request with that method, and names no length.
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

/// Held by a request's body: after it, the next head comes.
#[derive(Debug)]
pub(crate) struct NextHead(pub(super) HeadRecorder);

impl Drop for NextHead {
    fn drop(&mut self) {
        self.0.0.head.lock().clear();
        self.0.0.watching.store(true, Ordering::Relaxed);
    }
}

/// A connection whose heads are kept by a [`HeadRecorder`].
pub(super) struct RecordingStream {
    pub(super) stream: TokioIo<TcpStream>,
    pub(super) wire: HeadRecorder,
}

impl Read for RecordingStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.wire.0.watching.load(Ordering::Relaxed) {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        // Through a buffer of our own: hyper's can't be read back without `unsafe`.
        let mut space = [const { MaybeUninit::uninit() }; 8 * 1024];
        let room = buf.remaining().min(space.len());
        let mut space = ReadBuf::uninit(&mut space[..room]);
        ready!(AsyncRead::poll_read(Pin::new(self.stream.inner_mut()), cx, &mut space))?;
        self.wire.keep(space.filled());
        buf.put_slice(space.filled());
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

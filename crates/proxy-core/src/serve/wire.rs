//! What came over the wire, kept for one question that hyper's request no longer answers.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Request;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::TcpStream,
};

/// The bytes that were read since the last request was handed on.
#[derive(Clone)]
pub(super) struct Wire {
    bytes: Arc<Mutex<Vec<u8>>>,
    most: usize,
}

impl Wire {
    /// Keeps at most `most` bytes: as many as a head may have.
    pub(super) fn new(most: usize) -> Self {
        Self { bytes: Arc::default(), most }
    }

    /// Whether this request's head has a `Content-Length` beside its `Transfer-Encoding`. hyper takes the former
    /// away (as RFC 9112 §6.1 allows), so it has to be looked for in the head as it came.
    pub(super) fn has_two_framings<B>(&self, request: &Request<B>) -> bool {
        let bytes = std::mem::take(&mut *self.bytes.lock());
        if !request.headers().contains_key(http::header::TRANSFER_ENCODING) {
            return false;
        }
        let start = format!("{} {} HTTP/1.1\r\n", request.method(), request.uri());
        let Some(head) = find_last(&bytes, start.as_bytes()).map(|at| &bytes[at..]) else { return false };
        let lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end).skip(1);
        lines.take_while(|line| !line.is_empty()).any(|line| {
            let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
            name.eq_ignore_ascii_case(b"content-length")
        })
    }

    fn keep(&self, read: &[u8]) {
        let mut bytes = self.bytes.lock();
        if bytes.len() + read.len() > self.most {
            // More than a head: a body goes by. What may come next is in the newest bytes.
            bytes.clear();
        }
        bytes.extend_from_slice(&read[read.len().saturating_sub(self.most)..]);
    }
}

fn find_last(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).rposition(|window| window == wanted)
}

/// A connection whose reads are kept by a [`Wire`].
pub(super) struct Watched {
    pub(super) stream: TokioIo<TcpStream>,
    pub(super) wire: Wire,
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // Through a buffer of our own: hyper's can't be read back without `unsafe`.
        let mut space = [const { MaybeUninit::uninit() }; 16 * 1024];
        let room = buf.remaining().min(space.len());
        let mut space = ReadBuf::uninit(&mut space[..room]);
        ready!(AsyncRead::poll_read(Pin::new(self.stream.inner_mut()), cx, &mut space))?;
        self.wire.keep(space.filled());
        buf.put_slice(space.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for Watched {
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

//! The stream of a connection, as hyper reads and writes it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection_state::ConnectionHandle;
use crate::tcp;

/// What a client of HTTP/2 sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream that records the heads of HTTP/1.1 and notes what is sent.
///
/// hyper recognizes a client of HTTP/2 only if its whole preface is read at once, so the parts of a preface
/// are held back until it is complete.
#[derive(Debug)]
pub(super) struct ServedStream<Io> {
    io: Io,
    connection: ConnectionHandle,
    /// Bytes to be read before those of `io`.
    unread: Bytes,
    /// The parts of a preface; `None` once the first bytes were read.
    preface: Option<Vec<u8>>,
}

impl<Io> ServedStream<Io> {
    pub(super) fn new(io: Io, connection: ConnectionHandle) -> Self {
        Self { io, connection, unread: Bytes::new(), preface: Some(Vec::new()) }
    }

    /// Puts back bytes that were read.
    pub(super) fn unread(&mut self, bytes: Bytes) {
        self.unread = bytes;
    }
}

impl<Io: AsyncRead + Unpin> ServedStream<Io> {
    /// Reads the first bytes of the connection.
    fn poll_start(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let filled = buf.filled().len();
        while let Some(preface) = &mut self.preface {
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
            let read = &buf.filled()[filled..];
            let is_end = read.is_empty();
            if preface.is_empty() && !is_part_of_preface(read) {
                self.preface = None;
                return Poll::Ready(Ok(()));
            }
            preface.extend_from_slice(read);
            buf.set_filled(filled);
            if is_end || !is_part_of_preface(preface) {
                self.unread = std::mem::take(preface).into();
                self.preface = None;
            }
        }
        self.read_unread(buf);
        Poll::Ready(Ok(()))
    }

    fn read_unread(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.unread[..count]);
        self.unread.advance(count);
        if self.unread.is_empty() {
            self.unread = Bytes::new();
        }
    }
}

/// Whether more bytes are needed to tell HTTP/2.
fn is_part_of_preface(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.len() < PREFACE.len() && PREFACE.starts_with(bytes)
}

impl<Io: AsyncRead + Unpin> AsyncRead for ServedStream<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buf.filled().len();
        if !self.unread.is_empty() {
            self.read_unread(buf);
        } else if self.preface.is_some() {
            ready!(self.poll_start(cx, buf))?;
        } else {
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        }
        self.connection.head().record(&buf.filled()[filled..]);
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for ServedStream<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes));
        self.connection.set_active();
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(tcp::poll_write_slices(Pin::new(&mut self.io), cx, slices));
        self.connection.set_active();
        Poll::Ready(written)
    }
}

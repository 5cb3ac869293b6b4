//! Closing a connection without losing what was sent last.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::connection_state::ConnectionHandle;

/// How long a client may take to close its side.
const LINGER: Duration = Duration::from_secs(1);

/// A stream whose shutdown waits until the client has closed its side, too, and reads what is still sent. The
/// kernel would answer those bytes with a reset, and the client could lose the end of the response by it. It
/// does not wait for a client that has said that it sends nothing more.
pub(super) struct LingeringStream<Io> {
    stream: Io,
    handle: ConnectionHandle,
    /// Ends the shutdown; set once the stream is shut down.
    end: Option<Pin<Box<Sleep>>>,
}

impl<Io> LingeringStream<Io> {
    pub(super) fn new(stream: Io, handle: ConnectionHandle) -> Self {
        Self { stream, handle, end: None }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for LingeringStream<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LingeringStream<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.end.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        // The other direction of a tunnel continues.
        if this.handle.is_tunnel() || this.handle.is_last_request() {
            return Poll::Ready(Ok(()));
        }
        let end = this.end.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        while end.as_mut().poll(cx).is_pending() {
            let mut buffer = [0; 1024];
            let mut read = ReadBuf::new(&mut buffer);
            let result = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read));
            if result.is_err() || read.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;
    use crate::serve::{connection_state::Shared, settings::ServeSettings};

    #[tokio::test]
    async fn a_shutdown_waits_for_the_client_unless_it_sends_nothing_more() {
        for is_last in [false, true] {
            let handle = ConnectionHandle::new(Arc::new(Shared::new(ServeSettings::new())), None, None);
            if is_last {
                handle.set_last_request();
            }
            let (stream, client) = duplex(64);
            let mut stream = LingeringStream::new(stream, handle);
            assert_eq!(stream.shutdown().now_or_never().is_some(), is_last);
            drop(client);
            assert!(stream.shutdown().now_or_never().is_some());
        }
    }
}

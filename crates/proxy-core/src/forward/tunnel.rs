//! Upgraded connections: WebSocket, or any other protocol that both sides agreed on.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};

use crate::{activity::ActivityHandle, websocket::FrameReader};

/// Copies bytes in both directions until both sides have ended; the end of one side is passed on as a
/// half-close.
pub(super) async fn run(client: OnUpgrade, session: OnUpgrade, observer: Option<Observer>) {
    let (client, session) = match futures_util::future::try_join(client, session).await {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "upgrade failed"),
    };
    let mut client = ObservedStream { stream: TokioIo::new(client), observer };
    let mut session = TokioIo::new(session);
    if let Err(error) = copy_bidirectional(&mut client, &mut session).await {
        tracing::debug!(%error, "tunnel failed");
    }
}

/// Records the client's activity on a tunnel.
pub(super) enum Observer {
    /// Data frames are activity; control frames, which browsers send by themselves, are not.
    WebSocket(ActivityHandle, FrameReader),
    /// Every byte is activity.
    Bytes(ActivityHandle),
}

impl Observer {
    fn observe(&mut self, bytes: &[u8]) {
        match self {
            Self::WebSocket(activity, frames) => {
                if frames.read(bytes) {
                    activity.touch();
                }
            }
            Self::Bytes(activity) => activity.touch(),
        }
    }
}

/// A stream whose reads are observed.
struct ObservedStream<S> {
    stream: S,
    observer: Option<Observer>,
}

impl<S: AsyncRead + Unpin> AsyncRead for ObservedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = &buf.filled()[filled..];
        if let Some(observer) = self.observer.as_mut().filter(|_| !read.is_empty()) {
            observer.observe(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ObservedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

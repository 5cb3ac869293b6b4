//! Upgraded connections: WebSocket and whatever else both sides agreed on.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};

use crate::{activity::ActivityHandle, serve::ConnectionHandle, websocket::FrameReader};

/// Carries bytes both ways until both sides have ended; one side's end is passed on as a half-close.
pub(super) async fn run(
    down: OnUpgrade,
    up: OnUpgrade,
    touch: Option<Tap>,
    lifetime: Option<ConnectionHandle>,
) {
    let copy = async {
        let (down, up) = match futures_util::future::try_join(down, up).await {
            Ok(both) => both,
            Err(error) => return tracing::debug!(%error, "an upgrade was not completed"),
        };
        let mut down = Tapped { io: TokioIo::new(down), tap: touch };
        let mut up = TokioIo::new(up);
        if let Err(error) = copy_bidirectional(&mut down, &mut up).await {
            tracing::debug!(%error, "a tunnel broke off");
        }
    };
    match lifetime {
        Some(lifetime) => lifetime.until_aborted(copy).await,
        None => copy.await,
    }
}

/// Sees what the client sends.
pub(super) enum Tap {
    /// Frames that a person caused count; control frames, which a browser sends by itself, do not.
    WebSocket(ActivityHandle, FrameReader),
    /// Every byte counts.
    Bytes(ActivityHandle),
}

impl Tap {
    fn see(&mut self, bytes: &[u8]) {
        match self {
            Self::WebSocket(touch, frames) => {
                if frames.read(bytes) {
                    touch.touch();
                }
            }
            Self::Bytes(touch) => touch.touch(),
        }
    }
}

/// A stream whose reads are seen by a tap.
struct Tapped<S> {
    io: S,
    tap: Option<Tap>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        if let Some(tap) = self.tap.as_mut().filter(|_| !read.is_empty()) {
            tap.see(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

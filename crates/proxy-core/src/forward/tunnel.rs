//! Upgraded connections: WebSocket, or any other protocol that both sides agreed on.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use futures_util::{TryFutureExt as _, future::try_join};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;
use crate::{activity::ActivityHandle, body::BodyError, websocket::FrameReader};

/// The most that is read at a time, in bytes. The buffer is on the stack, so a tunnel that is idle has none.
const CHUNK: usize = 8 * 1024;

/// Copies bytes in both directions until both sides have ended; the end of one side is passed on as a
/// half-close.
pub(super) async fn run(client: OnUpgrade, session: Connection, mut observer: Option<Observer>) {
    let session = async { session.into_stream().await.map_err(BodyError::from) };
    let (client, (mut session, received)) = match try_join(client.map_err(Into::into), session).await {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "upgrade failed"),
    };
    let mut client = TokioIo::new(client);
    let mut up = Direction::new(Bytes::new());
    let mut down = Direction::new(received);
    let copying = poll_fn(|context| {
        let observe = |bytes: &[u8]| {
            if let Some(observer) = &mut observer {
                observer.observe(bytes);
            }
        };
        let up = up.poll(context, &mut client, &mut session, observe)?;
        let down = down.poll(context, &mut session, &mut client, |_| {})?;
        if up.is_ready() && down.is_ready() { Poll::Ready(io::Result::Ok(())) } else { Poll::Pending }
    });
    if let Err(error) = copying.await {
        tracing::debug!(%error, "tunnel failed");
    }
}

/// Copies what one side sends to the other.
struct Direction {
    /// What was read and is not written yet.
    unwritten: Bytes,
    state: CopyState,
}

#[derive(PartialEq)]
enum CopyState {
    Copying,
    /// Everything was written, and is to be flushed before the next read.
    Flushing,
    /// The reader has ended.
    ShuttingDown,
    Done,
}

impl Direction {
    fn new(received: Bytes) -> Self {
        Self { unwritten: received, state: CopyState::Copying }
    }

    /// Is ready once the reader has ended, and the writer was shut down.
    fn poll<R, W>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        mut observe: impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut buffer = [MaybeUninit::uninit(); CHUNK];
        loop {
            match self.state {
                CopyState::Done => return Poll::Ready(Ok(())),
                CopyState::ShuttingDown => {
                    ready!(Pin::new(&mut *writer).poll_shutdown(context))?;
                    self.state = CopyState::Done;
                }
                CopyState::Copying if !self.unwritten.is_empty() => {
                    let written = ready!(Pin::new(&mut *writer).poll_write(context, &self.unwritten))?;
                    if written == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    self.unwritten.advance(written);
                    if self.unwritten.is_empty() {
                        self.unwritten = Bytes::new();
                        self.state = CopyState::Flushing;
                    }
                }
                CopyState::Copying | CopyState::Flushing => {
                    let mut read = ReadBuf::uninit(&mut buffer);
                    let poll = Pin::new(&mut *reader).poll_read(context, &mut read)?;
                    if poll.is_pending() && self.state == CopyState::Flushing {
                        ready!(Pin::new(&mut *writer).poll_flush(context))?;
                        self.state = CopyState::Copying;
                    }
                    ready!(poll);
                    let bytes = read.filled();
                    if bytes.is_empty() {
                        self.state = CopyState::ShuttingDown;
                        continue;
                    }
                    observe(bytes);
                    self.state = CopyState::Flushing;
                    match Pin::new(&mut *writer).poll_write(context, bytes)? {
                        Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                        Poll::Ready(written) if written == bytes.len() => {}
                        poll => {
                            let written = if let Poll::Ready(written) = poll { written } else { 0 };
                            self.unwritten = Bytes::copy_from_slice(&bytes[written..]);
                            self.state = CopyState::Copying;
                            if poll.is_pending() {
                                return Poll::Pending;
                            }
                        }
                    }
                }
            }
        }
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

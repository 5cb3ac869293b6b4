//! Upgraded connections: WebSocket, or any other protocol that both sides agreed on.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    time::timeout,
};

use super::h1::Connection;
use crate::{activity::ActivityHandle, websocket::FrameReader};

/// The most that is read at a time, in bytes. The buffer is on the stack, so a tunnel that is idle has none.
const CHUNK: usize = 8 * 1024;
/// A close frame with the code 1001 (RFC 6455 §7.4.1): the server is going away.
const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];
/// How long a client may take to receive it.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Copies bytes in both directions until both sides have ended; the end of one side is passed on as a
/// half-close. Once `end` resolves, it stops. The client of a WebSocket, whose frames from the session
/// `frames` reads, is notified of that, unless a frame is under way.
pub(super) async fn run(
    client: OnUpgrade,
    session: Connection,
    mut observer: Option<Observer>,
    mut frames: Option<FrameReader>,
    end: impl Future<Output = ()>,
) {
    let mut end = pin!(end);
    let (mut session, received) = session.into_stream();
    let connected = tokio::select! {
        connected = client => connected,
        () = &mut end => return,
    };
    let client = match connected {
        Ok(client) => client,
        Err(error) => return tracing::debug!(%error, "upgrade failed"),
    };
    if let Some(frames) = &mut frames {
        frames.read(&received);
    }
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
        let observe = |bytes: &[u8]| {
            if let Some(frames) = &mut frames {
                frames.read(bytes);
            }
        };
        let down = down.poll(context, &mut session, &mut client, observe)?;
        if up.is_ready() && down.is_ready() { Poll::Ready(io::Result::Ok(())) } else { Poll::Pending }
    });
    tokio::select! {
        result = copying => {
            if let Err(error) = result {
                tracing::debug!(%error, "tunnel failed");
            }
        }
        () = end => {
            if frames.is_some_and(|frames| frames.is_between_frames()) && down.has_written_all() {
                // Boxed because every idle tunnel would be larger otherwise.
                let _notified = Box::pin(timeout(CLOSE_TIMEOUT, close(&mut client))).await;
            }
        }
    }
}

/// Sends the close frame, and waits until the client closes the connection: what it sent before would
/// otherwise reset it, and the frame could be lost.
async fn close(client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    client.write_all(&GOING_AWAY).await?;
    client.shutdown().await?;
    while client.read(&mut [0; 1024]).await? > 0 {}
    Ok(())
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

    /// Whether the writer is open and has all that was read.
    fn has_written_all(&self) -> bool {
        self.unwritten.is_empty() && matches!(self.state, CopyState::Copying | CopyState::Flushing)
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

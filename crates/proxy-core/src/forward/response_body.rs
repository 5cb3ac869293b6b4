//! The body of a response that is still being received.

use std::{
    future::{Future as _, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;

use super::{h1::Error, pool::PooledConnection};
use crate::{body::Body, trailers};

/// Returns the body of a response, which returns the connection to the pool when it has ended.
pub(super) fn receive(mut pooled: PooledConnection) -> Body {
    if !pooled.connection.has_sent() {
        // The upload continues even while nobody reads the response, so it can't depend on that.
        let (sender, frames) = mpsc::channel(1);
        tokio::spawn(relay(pooled, sender));
        return Body::new(RelayedBody(frames));
    }
    let has_length = pooled.connection.size_hint().exact().is_some();
    let mut first = None;
    if !pooled.connection.has_received() {
        first = poll_fn(|context| pooled.connection.poll_frame(context)).now_or_never().flatten();
    }
    if !pooled.connection.has_received() {
        return Body::new(ResponseBody { first, source: Source::Connection(pooled) });
    }
    // All of the response was received with its head.
    match first {
        None => {
            pooled.check_in();
            Body::empty()
        }
        Some(Ok(frame)) if has_length => {
            pooled.check_in();
            frame.into_data().unwrap_or_default().into()
        }
        // A body without length stays one, so that the client sees the session's framing.
        first => Body::new(ResponseBody { first, source: Source::Connection(pooled) }),
    }
}

/// Drives the connection while the body is read.
struct ResponseBody {
    /// A frame that was received with the head.
    first: Option<Result<Frame<Bytes>, Error>>,
    source: Source,
}

enum Source {
    Connection(PooledConnection),
    /// The connection failed, which is still to be reported.
    Failed(Error),
    Ended,
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Self { first, source } = &mut *self;
        let Source::Connection(pooled) = source else {
            return match std::mem::replace(source, Source::Ended) {
                Source::Failed(error) => Poll::Ready(Some(Err(error))),
                _ => Poll::Ready(None),
            };
        };
        let mut frame = match first.take() {
            Some(frame) => Some(frame),
            None => ready!(pooled.connection.poll_frame(context)),
        };
        trailers::scrub(&mut frame);
        let has_ended = pooled.connection.has_received();
        if has_ended && let Source::Connection(pooled) = std::mem::replace(source, Source::Ended) {
            if let Some(Err(error)) = frame {
                // The server aborts the response at once, so it gets a chance to send what was received.
                *source = Source::Failed(error);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            pooled.check_in();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Connection(pooled) if self.first.is_none() => pooled.connection.size_hint(),
            Source::Connection(_) | Source::Failed(_) => SizeHint::default(),
            Source::Ended => SizeHint::with_exact(0),
        }
    }
}

/// Sends the rest of the request, while the response's body is received frame by frame. Ends when nobody
/// reads the body any more.
async fn relay(mut pooled: PooledConnection, sender: mpsc::Sender<Result<Frame<Bytes>, Error>>) {
    let connection = &mut pooled.connection;
    loop {
        let frame = {
            let mut closed = pin!(sender.closed());
            poll_fn(|context| match closed.as_mut().poll(context) {
                Poll::Ready(()) if !connection.has_received() => Poll::Ready(Err(())),
                _ => connection.poll_frame(context).map(Ok),
            })
            .await
        };
        let Ok(frame) = frame else { return };
        let Some(frame) = frame else { break };
        let has_failed = frame.is_err();
        let mut sending = pin!(sender.send(frame));
        let sent = poll_fn(|context| {
            let _sent = connection.poll_upload(context);
            sending.as_mut().poll(context)
        })
        .await;
        if has_failed || sent.is_err() {
            return;
        }
        if connection.has_received() {
            break;
        }
    }
    drop(sender);
    if pooled.connection.idle().await {
        pooled.check_in();
    }
}

/// A body that [`relay`] receives.
struct RelayedBody(mpsc::Receiver<Result<Frame<Bytes>, Error>>);

impl HttpBody for RelayedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut frame = ready!(self.0.poll_recv(context));
        trailers::scrub(&mut frame);
        Poll::Ready(frame)
    }
}

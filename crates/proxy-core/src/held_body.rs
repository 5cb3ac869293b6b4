//! The body of a request that is held.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::pending,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use futures_util::future::poll_fn;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::body::{Body, BodyError};

/// How much of a held request's body is read before the request is forwarded, in bytes.
const MAX_BYTES: usize = 16 * 1024;

/// A request's body, of which the beginning may have been read ahead. It yields the same frames.
pub(crate) struct HeldBody {
    read_ahead: VecDeque<Result<Frame<Bytes>, BodyError>>,
    ended: bool,
    body: Body,
}

impl HeldBody {
    pub(crate) fn new(body: Body) -> Self {
        Self { read_ahead: VecDeque::new(), ended: false, body }
    }

    /// Reads a short body ahead. Never resolves. Cancel safe.
    ///
    /// Over HTTP/1, a server notices that a client went away only once the request has been read, so without
    /// this a client that sent a body would keep its place until the session runs.
    pub(crate) async fn read_ahead(&mut self) -> Infallible {
        let mut bytes = 0;
        while !self.ended && bytes < MAX_BYTES {
            match poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await {
                Some(frame) => {
                    self.ended = frame.is_err();
                    bytes += frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::remaining);
                    self.read_ahead.push_back(frame);
                }
                None => self.ended = true,
            }
        }
        pending().await
    }
}

impl HttpBody for HeldBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(frame) = self.read_ahead.pop_front() {
            return Poll::Ready(Some(frame));
        }
        if self.ended { Poll::Ready(None) } else { Pin::new(&mut self.body).poll_frame(context) }
    }

    fn is_end_stream(&self) -> bool {
        self.read_ahead.is_empty() && (self.ended || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.read_ahead.iter().filter_map(|frame| frame.as_ref().ok()?.data_ref());
        let read: u64 = read.map(|data| data.remaining() as u64).sum();
        let rest = if self.ended { SizeHint::with_exact(0) } else { self.body.size_hint() };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + read);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + read);
        }
        hint
    }
}

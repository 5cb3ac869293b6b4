//! The one body type that travels through the stack.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::body::Incoming;

use crate::{forward::PooledConnection, serve::NextHead};

/// What went wrong while a body was read.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A request's or a response's body: one that is read off a connection stays unboxed.
#[derive(Debug, Default)]
pub struct Body(Kind);

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    Full(Option<Bytes>),
    Received(Received),
    Pooled(Pooled),
    Boxed(UnsyncBoxBody<Bytes, BodyError>),
}

impl Body {
    /// Nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// Any other body.
    #[must_use]
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        Self(Kind::Boxed(body.map_err(Into::into).boxed_unsync()))
    }
}

/// A body off a connection; what comes after it on HTTP/1.1 is the next head.
#[derive(Debug)]
struct Received {
    body: Incoming,
    next_head: Option<NextHead>,
}

impl Received {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.next_head = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }
}

/// A response's body; at its end the connection goes back to the pool. Dropped before, it closes the connection.
struct Pooled {
    body: Incoming,
    connection: Option<PooledConnection>,
}

impl std::fmt::Debug for Pooled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.body.fmt(f)
    }
}

impl Pooled {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let over = match &frame {
            None => true,
            Some(Ok(_)) => self.body.is_end_stream(),
            Some(Err(_)) => {
                self.connection = None;
                false
            }
        };
        if over && let Some(connection) = self.connection.take() {
            connection.check_in();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }
}

impl Body {
    pub(crate) fn received(body: Incoming, next_head: Option<NextHead>) -> Self {
        Self(Kind::Received(Received { body, next_head }))
    }

    pub(crate) fn pooled(body: Incoming, connection: PooledConnection) -> Self {
        if body.is_end_stream() {
            connection.check_in();
            return Self::empty();
        }
        Self(Kind::Pooled(Pooled { body, connection: Some(connection) }))
    }
}

impl From<Incoming> for Body {
    fn from(body: Incoming) -> Self {
        Self::received(body, None)
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(if bytes.is_empty() { Kind::Empty } else { Kind::Full(Some(bytes)) })
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Received(body) => body.poll_frame(context),
            Kind::Pooled(body) => body.poll_frame(context),
            Kind::Boxed(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty | Kind::Full(None) => true,
            Kind::Full(Some(_)) => false,
            Kind::Received(received) => received.body.is_end_stream(),
            Kind::Pooled(pooled) => pooled.body.is_end_stream(),
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty | Kind::Full(None) => SizeHint::with_exact(0),
            Kind::Full(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Received(received) => received.body.size_hint(),
            Kind::Pooled(pooled) => pooled.body.size_hint(),
            Kind::Boxed(body) => body.size_hint(),
        }
    }
}

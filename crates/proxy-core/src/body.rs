//! The body type of `serve` and `Forward`.

use std::{
    any::Any,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::body::Incoming;

use crate::trailers;

/// Why a body could not be read to its end.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request or a response. A body that is read off a connection is not boxed.
#[derive(Debug, Default)]
pub struct Body(BodyKind);

#[derive(Debug, Default)]
enum BodyKind {
    #[default]
    Empty,
    Full(Option<Bytes>),
    Received(ReceivedBody),
    Boxed(UnsyncBoxBody<Bytes, BodyError>),
}

impl Body {
    /// Makes an empty body.
    #[must_use]
    pub fn empty() -> Self {
        Self(BodyKind::Empty)
    }

    /// Boxes any other body. A `Body`, and what has ended already, is not boxed.
    #[must_use]
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        let mut body = Some(body);
        if let Some(same) = (&mut body as &mut dyn Any).downcast_mut::<Option<Self>>() {
            return same.take().unwrap_or_default();
        }
        match body.filter(|body| !body.is_end_stream()) {
            Some(body) => Self(BodyKind::Boxed(body.map_err(Into::into).boxed_unsync())),
            None => Self::empty(),
        }
    }

    /// Wraps a body that is read off a connection. `on_end` runs once it was read to its end; if the body
    /// fails or is dropped before, `on_end` is dropped.
    pub(crate) fn received(body: Incoming, on_end: Option<OnEnd>) -> Self {
        if body.is_end_stream() {
            if let Some(on_end) = on_end {
                on_end();
            }
            return Self::empty();
        }
        Self(BodyKind::Received(ReceivedBody { body, on_end }))
    }
}

/// What runs once a body was read to its end.
pub(crate) type OnEnd = Box<dyn FnOnce() + Send>;

struct ReceivedBody {
    body: Incoming,
    on_end: Option<OnEnd>,
}

impl ReceivedBody {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        trailers::scrub(&mut frame);
        match &frame {
            Some(Err(_)) => self.on_end = None,
            Some(Ok(_)) if !self.body.is_end_stream() => {}
            _ => {
                if let Some(on_end) = self.on_end.take() {
                    on_end();
                }
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }
}

impl fmt::Debug for ReceivedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.body.fmt(f)
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(if bytes.is_empty() { BodyKind::Empty } else { BodyKind::Full(Some(bytes)) })
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
            BodyKind::Empty => Poll::Ready(None),
            BodyKind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            BodyKind::Received(body) => body.poll_frame(context),
            BodyKind::Boxed(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            BodyKind::Empty | BodyKind::Full(None) => true,
            BodyKind::Full(Some(_)) => false,
            BodyKind::Received(received) => received.body.is_end_stream(),
            BodyKind::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            BodyKind::Empty | BodyKind::Full(None) => SizeHint::with_exact(0),
            BodyKind::Full(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            BodyKind::Received(received) => received.body.size_hint(),
            BodyKind::Boxed(body) => body.size_hint(),
        }
    }
}

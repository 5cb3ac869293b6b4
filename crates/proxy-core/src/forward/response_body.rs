//! The body of a response that is still being received.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::PooledConnection;
use crate::{body::Body, trailers};

/// Returns the body of a response, which returns the connection to the pool when it has ended. The upload is
/// part of the response's request.
pub(super) fn receive(body: Incoming, mut connection: PooledConnection, has_upload: bool) -> Body {
    if connection.connection.is_idle() {
        // All of the response was received with its head.
        connection.check_in();
        return body.into();
    }
    if has_upload {
        // The upload continues even while nobody reads the response, so it can't depend on that.
        tokio::spawn(async move {
            if connection.connection.idle().await {
                connection.check_in();
            }
        });
        return body.into();
    }
    if body.is_end_stream() {
        return Body::empty();
    }
    Body::new(ResponseBody { body, source: Source::Connection(connection) })
}

/// Drives the connection while the body is read.
struct ResponseBody {
    body: Incoming,
    source: Source,
}

enum Source {
    Connection(PooledConnection),
    /// The connection failed, which is still to be reported.
    Failed(hyper::Error),
    Ended,
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { body, source } = &mut *self;
        let Source::Connection(pooled) = source else {
            return match std::mem::replace(source, Source::Ended) {
                Source::Failed(error) => Poll::Ready(Some(Err(error))),
                _ => Poll::Ready(None),
            };
        };
        let driver = &mut pooled.connection.driver;
        let mut frame = ready!(driver.poll_with(context, |context| Pin::new(&mut *body).poll_frame(context)));
        trailers::scrub(&mut frame);
        let has_ended = match &frame {
            Some(Ok(_)) => body.is_end_stream(),
            Some(Err(_)) | None => true,
        };
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
        matches!(self.source, Source::Ended) || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! Responses that end when the token that let them in is no longer valid.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use pod_manager::AttachGrant;
use proxy_core::{Body, BodyError};

/// The size, in bytes, up to which a body is sent with its head.
const SMALL: u64 = 64 * 1024;

/// Makes the response's body fail once the token is revoked or has expired. A client sees a broken
/// connection, as it should: the response is not complete.
pub(super) fn limit(response: Response<Body>, grant: AttachGrant) -> Response<Body> {
    if response.body().size_hint().upper().is_some_and(|bytes| bytes <= SMALL) {
        return response;
    }
    response.map(|body| Body::new(RevocableBody { body, ended: Box::pin(grant.ended()) }))
}

struct RevocableBody {
    body: Body,
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl HttpBody for RevocableBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended.as_mut().poll(context).is_ready() {
            // What follows is an empty body.
            self.body = Body::empty();
            self.ended = Box::pin(std::future::pending());
            return Poll::Ready(Some(Err("the attach token is no longer valid".into())));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

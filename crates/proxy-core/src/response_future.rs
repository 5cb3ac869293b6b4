//! The future of the services that may refuse a request.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::Either;
use http::Response;
use pin_project_lite::pin_project;

use crate::body::Body;

type Boxed = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

pin_project! {
    /// The future of a service that refuses a request at once, calls the service behind it, or does one of
    /// both later.
    pub struct ResponseFuture<F> {
        #[pin]
        inner: Either<Either<Ready<Result<Response<Body>, Infallible>>, Boxed>, F>,
    }
}

impl<F> ResponseFuture<F> {
    pub(crate) fn refused(response: Response<Body>) -> Self {
        Self { inner: Either::Left(Either::Left(ready(Ok(response)))) }
    }

    pub(crate) fn held(future: Boxed) -> Self {
        Self { inner: Either::Left(Either::Right(future)) }
    }

    pub(crate) fn called(future: F) -> Self {
        Self { inner: Either::Right(future) }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}

impl<F> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(context)
    }
}

//! The future of the services that may refuse a request.

use std::{
    fmt,
    future::{Future, Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::Either;
use pin_project_lite::pin_project;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pin_project! {
    /// The future of a service that refuses a request at once, calls the service behind it, or does one of
    /// both later.
    pub struct ResponseFuture<F: Future> {
        #[pin]
        inner: Either<Either<Ready<F::Output>, Boxed<F::Output>>, F>,
    }
}

impl<F, T, E> ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
{
    pub(crate) fn refused(response: T) -> Self {
        Self { inner: Either::Left(Either::Left(ready(Ok(response)))) }
    }

    pub(crate) fn held(future: Boxed<Result<T, E>>) -> Self {
        Self { inner: Either::Left(Either::Right(future)) }
    }

    pub(crate) fn called(future: F) -> Self {
        Self { inner: Either::Right(future) }
    }
}

pin_project! {
    /// The future of a service that calls one of two services.
    pub struct EitherFuture<F, G> {
        #[pin]
        inner: Either<F, G>,
    }
}

impl<F, G> EitherFuture<F, G> {
    pub(crate) fn left(future: F) -> Self {
        Self { inner: Either::Left(future) }
    }

    pub(crate) fn right(future: G) -> Self {
        Self { inner: Either::Right(future) }
    }
}

impl<F, G> fmt::Debug for EitherFuture<F, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EitherFuture")
    }
}

impl<F: Future, G: Future<Output = F::Output>> Future for EitherFuture<F, G> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(context)
    }
}

impl<F: Future> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}

impl<F: Future> Future for ResponseFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(context)
    }
}

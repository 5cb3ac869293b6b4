use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::Body;

pin_project! {
    /// The future of a service that refuses at once, or answers what the service behind it does.
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Refused { response: Option<Response<Body>> },
        Passed { #[pin] future: F },
    }
}

impl<F> ResponseFuture<F> {
    pub(crate) fn refused(response: Response<Body>) -> Self {
        Self { state: State::Refused { response: Some(response) } }
    }

    pub(crate) fn passed(future: F) -> Self {
        Self { state: State::Passed { future } }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self.state, State::Refused { .. }) { "Refused" } else { "Passed" })
    }
}

impl<F> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Passed { future } => future.poll(context),
            StateProjection::Refused { response } => Poll::Ready(Ok(response.take().unwrap_or_default())),
        }
    }
}

pin_project! {
    /// Calls a service once it is ready, as tower asks of whoever calls one.
    #[project = WhenReadyProjection]
    pub(crate) enum WhenReady<S: Service<Request<Body>>> {
        Waiting { service: S, request: Option<Request<Body>> },
        Called { #[pin] future: S::Future },
    }
}

impl<S: Service<Request<Body>>> WhenReady<S> {
    pub(crate) fn new(service: S, request: Request<Body>) -> Self {
        Self::Waiting { service, request: Some(request) }
    }
}

impl<S: Service<Request<Body>>> Future for WhenReady<S> {
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let future = match self.as_mut().project() {
                WhenReadyProjection::Called { future } => return future.poll(context),
                WhenReadyProjection::Waiting { service, request } => {
                    ready!(service.poll_ready(context))?;
                    service.call(request.take().unwrap_or_default())
                }
            };
            self.set(Self::Called { future });
        }
    }
}

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;
use pin_project_lite::pin_project;

use crate::Body;

pin_project! {
    /// The future of a service that refuses at once, or answers what the service behind it does.
    pub struct RefuseOr<F> {
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

impl<F> RefuseOr<F> {
    pub(crate) fn refused(response: Response<Body>) -> Self {
        Self { state: State::Refused { response: Some(response) } }
    }

    pub(crate) fn passed(future: F) -> Self {
        Self { state: State::Passed { future } }
    }
}

impl<F> fmt::Debug for RefuseOr<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self.state, State::Refused { .. }) { "Refused" } else { "Passed" })
    }
}

impl<F> Future for RefuseOr<F>
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

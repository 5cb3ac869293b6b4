//! Runs what may take long, such as a call of the API, on the shared runtime instead of the worker that
//! serves the connection: each worker serves many of them on one thread.

use std::{
    convert::Infallible,
    future::{Future, pending},
    panic::resume_unwind,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use proxy_core::Body;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use tower::{Service, ServiceExt as _};
use tracing::Instrument as _;

/// Runs a future, and all that it spawns, on a runtime. It ends if the returned future is dropped. A panic is
/// passed on.
pub(crate) async fn run_on<F>(runtime: Handle, future: F) -> F::Output
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let task = runtime.spawn(future.in_current_span());
    match AbortOnDropHandle::new(task).await {
        Ok(output) => output,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime has ended, and with it soon the process.
            Err(_) => pending().await,
        },
    }
}

/// Calls a service on a runtime.
#[derive(Debug, Clone)]
pub(crate) struct OnRuntime<S> {
    inner: S,
    runtime: Handle,
}

impl<S> OnRuntime<S> {
    /// Wraps a service; its requests are answered on `runtime`.
    pub(crate) fn new(inner: S, runtime: Handle) -> Self {
        Self { inner, runtime }
    }
}

impl<S> Service<Request<Body>> for OnRuntime<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The task polls its own clone.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(run_on(self.runtime.clone(), self.inner.clone().oneshot(request)))
    }
}

#[cfg(test)]
mod tests {
    use std::{panic::AssertUnwindSafe, thread};

    use futures_util::FutureExt as _;
    use tokio::{runtime, sync::oneshot};
    use tower::service_fn;

    use super::*;

    /// Returns a runtime of one thread with this name.
    fn runtime(name: &str) -> runtime::Runtime {
        let mut builder = runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name(name).build().expect("a runtime")
    }

    #[test]
    fn a_request_is_answered_on_the_runtime() {
        let shared = runtime("shared");
        let service = service_fn(async |_: Request<Body>| {
            let spawned = tokio::spawn(async { thread::current().name().map(str::to_owned) });
            Ok(Response::new(Body::from(spawned.await.expect("a task").unwrap_or_default())))
        });
        let service = OnRuntime::new(service, shared.handle().clone());
        let worker = runtime::Builder::new_current_thread().build().expect("a runtime");
        let response = worker.block_on(service.oneshot(Request::new(Body::empty())));
        let body = response.expect("a response").into_body();
        let body = worker.block_on(http_body_util::BodyExt::collect(body)).expect("a body").to_bytes();
        assert_eq!(body, "shared");
        shared.shutdown_background();
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        let shared = runtime("shared");
        let worker = runtime::Builder::new_current_thread().build().expect("a runtime");
        let called = run_on(shared.handle().clone(), async { panic!("failed") });
        assert!(worker.block_on(AssertUnwindSafe(called).catch_unwind()).is_err());
        shared.shutdown_background();
    }

    #[test]
    fn a_request_whose_client_goes_away_ends() {
        let shared = runtime("shared");
        let worker = runtime::Builder::new_current_thread().build().expect("a runtime");
        let (started, is_started) = oneshot::channel();
        let (end, mut ended) = oneshot::channel::<()>();
        let mut called = Box::pin(run_on(shared.handle().clone(), async move {
            let _end = end;
            started.send(()).expect("a receiver");
            pending::<()>().await;
        }));
        worker.block_on(async {
            tokio::select! {
                () = &mut called => {}
                result = is_started => result.expect("a start"),
            }
            assert!(ended.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
            drop(called);
            assert!(ended.await.is_err());
        });
        shared.shutdown_background();
    }
}

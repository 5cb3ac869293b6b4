//! Hooks for metrics: what happens to requests and to connections to upstreams.

use std::{error::Error, net::SocketAddr, sync::Arc, time::Duration};

use http::{Extensions, Response, StatusCode};

use crate::refusal::{Refusal, RefusalContext, Refusals};

/// Observes requests and connections to upstreams, for metrics.
///
/// [`crate::Forward`] reports connections and responses, if it has an observer; [`ObservedRefusals`] reports
/// refusals. The methods are called inside of requests, so they must be fast and never wait. Each does
/// nothing by default.
///
/// Counters for Prometheus, without a library:
///
/// ```
/// use std::{
///     convert::Infallible,
///     sync::{Arc, atomic::{AtomicU64, Ordering::Relaxed}},
/// };
///
/// use http::Request;
/// use proxy_core::*;
/// use tower::{ServiceBuilder, ServiceExt};
///
/// #[derive(Default)]
/// struct Metrics {
///     connections: AtomicU64,
///     failed_connections: AtomicU64,
///     responses: AtomicU64,
///     first_byte_micros: AtomicU64,
///     refused: AtomicU64,
/// }
///
/// impl Observer for Metrics {
///     fn connected(&self, event: &ConnectEvent<'_>) {
///         let counter = if event.error.is_none() { &self.connections } else { &self.failed_connections };
///         counter.fetch_add(1, Relaxed);
///     }
///
///     fn responded(&self, event: &ResponseEvent<'_>) {
///         self.responses.fetch_add(1, Relaxed);
///         self.first_byte_micros.fetch_add(event.elapsed.as_micros() as u64, Relaxed);
///     }
///
///     fn refused(&self, _: &Refusal, _: &RefusalContext<'_>) {
///         self.refused.fetch_add(1, Relaxed);
///     }
/// }
///
/// impl Metrics {
///     /// Returns what `/metrics` answers.
///     fn render(&self) -> String {
///         let seconds = self.first_byte_micros.load(Relaxed) as f64 / 1e6;
///         format!(
///             "proxy_connections_total {}\nproxy_failed_connections_total {}\n\
///              proxy_first_byte_seconds_count {}\nproxy_first_byte_seconds_sum {seconds}\n\
///              proxy_refused_total {}\n",
///             self.connections.load(Relaxed),
///             self.failed_connections.load(Relaxed),
///             self.responses.load(Relaxed),
///             self.refused.load(Relaxed),
///         )
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let metrics = Arc::new(Metrics::default());
/// // One policy for all layers, each of whose refusals is counted.
/// let refusals = Arc::new(ObservedRefusals::new(PlainRefusals, metrics.clone()));
/// let forward = Forward::with_refusals(ForwardSettings::default(), refusals.clone());
/// let service = ServiceBuilder::new()
///     .layer(SameOriginLayer::new().with_refusals(refusals))
///     .service(forward.with_observer(metrics.clone()));
///
/// let request = Request::post("/").header("host", "a.example").header("origin", "https://b.example");
/// service.oneshot(request.body(Body::empty())?).await?;
/// assert!(metrics.render().ends_with("proxy_refused_total 1\n"));
/// # Ok(())
/// # }
/// ```
pub trait Observer: Send + Sync + 'static {
    /// A connection to an upstream was opened, or could not be opened.
    fn connected(&self, _: &ConnectEvent<'_>) {}

    /// The head of an upstream's response arrived.
    fn responded(&self, _: &ResponseEvent<'_>) {}

    /// A request was refused.
    fn refused(&self, _: &Refusal, _: &RefusalContext<'_>) {}
}

/// A connection to an upstream that was opened, or could not be opened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ConnectEvent<'a> {
    /// The upstream's address.
    pub upstream: SocketAddr,
    /// The extensions of the request for which the connection was opened.
    pub extensions: &'a Extensions,
    /// How long that took.
    pub elapsed: Duration,
    /// Why it could not be opened.
    pub error: Option<&'a (dyn Error + Send + Sync + 'static)>,
}

/// An upstream's response, of which the head has arrived.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ResponseEvent<'a> {
    /// The upstream's address.
    pub upstream: SocketAddr,
    /// The request's extensions.
    pub extensions: &'a Extensions,
    /// The response's status.
    pub status: StatusCode,
    /// The time from the moment at which the request was passed to a connection, opening one not included,
    /// until the response's head arrived (the time to the first byte).
    pub elapsed: Duration,
    /// Whether the connection had been used before.
    pub is_reused: bool,
}

impl<T: Observer + ?Sized> Observer for Arc<T> {
    fn connected(&self, event: &ConnectEvent<'_>) {
        (**self).connected(event);
    }

    fn responded(&self, event: &ResponseEvent<'_>) {
        (**self).responded(event);
    }

    fn refused(&self, refusal: &Refusal, context: &RefusalContext<'_>) {
        (**self).refused(refusal, context);
    }
}

/// Reports refusals to an [`Observer`], and leaves the responses to another policy.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
///
/// use proxy_core::{ObservedRefusals, Observer, PlainRefusals, Refusal, RefusalContext, SameOriginLayer};
///
/// #[derive(Default)]
/// struct Metrics {
///     refused: AtomicU64,
/// }
///
/// impl Observer for Metrics {
///     fn refused(&self, _: &Refusal, _: &RefusalContext<'_>) {
///         self.refused.fetch_add(1, Ordering::Relaxed);
///     }
/// }
///
/// let metrics = Arc::new(Metrics::default());
/// let refusals = ObservedRefusals::new(PlainRefusals, metrics.clone());
/// let same_origin = SameOriginLayer::new().with_refusals(refusals);
/// # drop(same_origin);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ObservedRefusals<R, O> {
    refusals: R,
    observer: O,
}

impl<R, O> ObservedRefusals<R, O> {
    /// Refuses with `refusals`, and reports each refusal to `observer`.
    #[must_use]
    pub fn new(refusals: R, observer: O) -> Self {
        Self { refusals, observer }
    }
}

impl<B, R: Refusals<B>, O: Observer> Refusals<B> for ObservedRefusals<R, O> {
    fn refuse(&self, refusal: &Refusal, context: &RefusalContext<'_>) -> Response<B> {
        self.observer.refused(refusal, context);
        self.refusals.refuse(refusal, context)
    }
}

//! Hooks for metrics: what happens to requests and to connections to upstreams.

use std::{error::Error, net::SocketAddr, sync::Arc, time::Duration};

use http::{Extensions, Response, StatusCode};

use crate::refusal::{Refusal, RefusalContext, Refusals};

/// Observes requests and connections to upstreams, for metrics.
///
/// [`crate::Forward`] reports connections and responses, if it has an observer; [`ObservedRefusals`] reports
/// refusals. The methods are called inside of requests, so they must be fast and never wait. Each does
/// nothing by default.
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

//! The policy of [`crate::Resolve`] that starts sessions which are not running.

use std::{future::Future, pin::Pin, sync::Arc};

use http::Extensions;
use session_key::{Identity, SessionRoute};

use crate::{refusal::Refusal, request_kind::RequestKind};

/// Starts the session of a request, and holds the request until the session runs.
pub trait Wake<K = SessionRoute, I = Identity>: Send + Sync + 'static {
    /// Starts the session, and resolves once it is `until`. If many requests wake one session, it is started
    /// once.
    ///
    /// The future is dropped if the client goes away; the session may start nevertheless. It must be bounded
    /// in time, and an implementation bounds how many requests wait.
    fn wake(&self, request: &WakeRequest<'_, K, I>, until: Until) -> WakeFuture;
}

impl<K, I, T: Wake<K, I> + ?Sized> Wake<K, I> for Arc<T> {
    fn wake(&self, request: &WakeRequest<'_, K, I>, until: Until) -> WakeFuture {
        (**self).wake(request, until)
    }
}

/// The future of [`Wake::wake`]: how to refuse the request, if the session was not started or does not run.
pub type WakeFuture = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;

/// A request to a session that is not running. Its user owns the session.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct WakeRequest<'a, K = SessionRoute, I = Identity> {
    /// What the request is for.
    pub route: &'a K,
    /// The session's owner.
    pub identity: &'a I,
    /// The request's extensions: those of the embedder's own layers, and an [`crate::AccessToken`] if the
    /// sign-in sent one.
    pub extensions: &'a Extensions,
}

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The start is recorded. The request is then refused with [`Refusal::NotRunning`], unless the session
    /// runs: an embedder's [`crate::Refusals`] lead a browser to a page that shows the start.
    Started,
    /// The session runs. The request is then forwarded.
    Running,
}

impl Until {
    /// Returns what a request of this kind waits for; `None` if it starts nothing.
    pub(crate) fn of(kind: RequestKind) -> Option<Self> {
        match kind {
            RequestKind::Navigation => Some(Self::Started),
            RequestKind::Program => Some(Self::Running),
            RequestKind::Page | RequestKind::Probe => None,
        }
    }
}

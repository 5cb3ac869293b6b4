//! The policy of [`crate::Resolve`] that starts sessions which are not running.

use std::{future::Future, pin::Pin, sync::Arc};

use http::Extensions;
use session_key::{Identity, SessionRoute};

use crate::{refusal::Refusal, request_kind::RequestKind};

/// Starts the session of a request, and holds the request until the session runs.
///
/// ```
/// use std::{convert::Infallible, sync::Arc, time::Duration};
///
/// use http::{Request, Response, StatusCode};
/// use proxy_core::*;
/// use session_key::{Identity, SessionRoute, Target};
/// use tokio::{sync::watch, time::timeout};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// /// One session, and whether it runs.
/// struct Session(watch::Sender<bool>);
///
/// impl Resolver for Session {
///     fn resolve(&self, _: &SessionRoute, _: &Identity) -> Result<Upstream, ResolveError> {
///         match *self.0.borrow() {
///             true => Ok(Upstream::new(([127, 0, 0, 1], 4096).into())),
///             false => Err(ResolveError::NotRunning { retry_after: Some(2) }),
///         }
///     }
/// }
///
/// impl Wake for Session {
///     fn wake(&self, _: &WakeRequest<'_>, until: Until) -> WakeFuture {
///         let session = self.0.clone();
///         Box::pin(async move {
///             // Stands for a start that takes a while.
///             let start = session.clone();
///             tokio::spawn(async move { start.send_replace(true) });
///             if until == Until::Started {
///                 return Ok(());
///             }
///             let mut changes = session.subscribe();
///             match timeout(Duration::from_secs(60), changes.wait_for(|is_running| *is_running)).await {
///                 Ok(_) => Ok(()),
///                 Err(_) => Err(Refusal::TimedOut),
///             }
///         })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let session = Arc::new(Session(watch::Sender::new(false)));
/// let service = ServiceBuilder::new()
///     .layer(ResolveLayer::new(session.clone()).with_wake(session))
///     .service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
///
/// // A program's request is held until the session runs.
/// let request = Request::post("/")
///     .extension(SessionRoute { hash: "a48da0606867".parse()?, target: Target::Opencode })
///     .extension(Identity::parse("me@example.com")?)
///     .body(Body::empty())?;
/// assert_eq!(service.oneshot(request).await?.status(), StatusCode::OK);
/// # Ok(())
/// # }
/// ```
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

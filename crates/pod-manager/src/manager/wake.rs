//! Starts sessions for requests that arrive while they do not run, and holds such requests.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use session_key::{Identity, SessionHash};
use thiserror::Error;
use tokio::time::timeout;

use super::{
    error::ManagerError,
    manager::Manager,
    view::{View, ViewState},
    waiting::{PendingStart, Waited},
};
use crate::{
    backend::BackendError,
    model::{Credentials, Failure, Phase, StopReason},
};

/// How long a session that is to start may be reported as stopped: between its old process's end and the new
/// start.
const STOPPED_GRACE: Duration = Duration::from_secs(1);

/// Why a session does not run for a request.
#[derive(Debug, Clone, Error)]
pub enum WakeError {
    /// The session does not exist, or belongs to another user.
    #[error("no such session")]
    NotFound,
    /// The session was not started.
    #[error("the session was not started")]
    NotStarted(#[source] Arc<ManagerError>),
    /// The session has failed. Only its owner starts it again.
    #[error("the session has failed")]
    Failed(Failure),
    /// The session was stopped while the request waited.
    #[error("the session was stopped")]
    Stopped,
    /// The session does not run yet.
    #[error("the session does not run after {} seconds", .0.as_secs())]
    TimedOut(Duration),
    /// As many requests as may wait do so already.
    #[error("too many requests wait {}", .0.as_str())]
    TooManyWaiting(Waited),
}

/// Told of the end of a start that a request caused.
type Report = Box<dyn FnOnce(&Result<(), Arc<ManagerError>>) + Send>;

/// How a session is started for a request.
pub struct WakeStart {
    /// What the session may use in its owner's name. It is asked for only if this request starts the session,
    /// and bounded in time.
    pub credentials: BoxFuture<'static, Credentials>,
    /// Called once the start is recorded or refused; not if another request has started the session.
    pub report: Report,
}

impl fmt::Debug for WakeStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WakeStart")
    }
}

impl Manager {
    /// Starts the user's session if it is stopped or stops, and returns once the start is recorded. A session
    /// that starts or runs stays as it is. If several requests ask at once, the session is started once.
    ///
    /// The start goes on if this future is dropped.
    ///
    /// # Errors
    /// [`WakeError`]. A session that has failed is not started again.
    pub async fn wake(
        self: &Arc<Self>,
        user: &Identity,
        hash: SessionHash,
        start: WakeStart,
    ) -> Result<(), WakeError> {
        if !self.is_ready() {
            let error = BackendError::Unavailable("it has not reported its sessions yet".into());
            return Err(WakeError::NotStarted(Arc::new(ManagerError::Unavailable(error))));
        }
        let view = self.get(user, hash).ok_or(WakeError::NotFound)?;
        match view.state {
            ViewState::Creating | ViewState::Running => Ok(()),
            ViewState::Failed => Err(failed(&view)),
            ViewState::Stopping | ViewState::Stopped => {
                self.start_once(user, hash, start).await.map_err(|error| match *error {
                    ManagerError::NotFound => WakeError::NotFound,
                    _ => WakeError::NotStarted(error),
                })
            }
        }
    }

    /// Starts the user's session as [`wake`](Self::wake) does, and waits until it runs.
    ///
    /// Bounded in time and number, see [`ManagerSettings`](super::ManagerSettings). A request whose future is
    /// dropped frees its place.
    ///
    /// # Errors
    /// [`WakeError`]
    pub async fn wake_and_wait(
        self: &Arc<Self>,
        user: &Identity,
        hash: SessionHash,
        start: WakeStart,
    ) -> Result<(), WakeError> {
        let entry = self.index.get_owned(user, hash).ok_or(WakeError::NotFound)?;
        let limits = &self.settings.waiting;
        let _place = self.waiting.enter(user, hash, limits).map_err(WakeError::TooManyWaiting)?;
        let running = async {
            let before = entry.view().ok_or(WakeError::NotFound)?;
            self.wake(user, hash, start).await?;
            let (mut has_begun, mut was_stopped) = (false, false);
            loop {
                let changed = entry.changed();
                let view = entry.view().ok_or(WakeError::NotFound)?;
                if view.served().is_some() {
                    return Ok(());
                }
                match view.state {
                    ViewState::Failed => return Err(failed(&view)),
                    ViewState::Creating | ViewState::Running | ViewState::Stopping => {
                        has_begun = true;
                        changed.await;
                    }
                    // The backend has not reported the start yet.
                    ViewState::Stopped if !has_begun && is_unchanged(&before, &view) => changed.await,
                    ViewState::Stopped if was_stopped => return Err(WakeError::Stopped),
                    ViewState::Stopped => was_stopped = timeout(STOPPED_GRACE, changed).await.is_err(),
                }
            }
        };
        let limit = self.settings.wake_timeout;
        timeout(limit, running).await.unwrap_or(Err(WakeError::TimedOut(limit)))
    }

    /// Returns how many requests wait for sessions.
    pub fn waiting_requests(&self) -> usize {
        self.waiting.count()
    }

    /// Starts the session, or waits for the start that another request has begun.
    async fn start_once(
        self: &Arc<Self>,
        user: &Identity,
        hash: SessionHash,
        start: WakeStart,
    ) -> Result<(), Arc<ManagerError>> {
        let begin = || {
            let (manager, user) = (self.clone(), user.clone());
            // A task of its own: it ends, and reports, also if all requests that wait for it go away.
            let task = tokio::spawn(async move {
                let pending = PendingStart::new(&manager.waiting, hash);
                let credentials = start.credentials.await;
                let result = manager.resume(&user, hash, &credentials).await;
                drop(pending);
                let result = result.map(drop).map_err(Arc::new);
                (start.report)(&result);
                result
            });
            task.map(|ended| ended.unwrap_or_else(|_| Err(Arc::new(interrupted())))).boxed().shared()
        };
        self.waiting.share_start(hash, begin).await
    }
}

fn failed(view: &View) -> WakeError {
    match &view.status.phase {
        Phase::Failed(failure) => WakeError::Failed(failure.clone()),
        _ => WakeError::Stopped,
    }
}

/// Returns whether the session is as it was before the start, so that the start is still to be seen.
fn is_unchanged(before: &View, now: &View) -> bool {
    let never_started = matches!(now.status.phase, Phase::Stopped(StopReason::NeverStarted));
    never_started || (before.status.since == now.status.since && before.status.phase == now.status.phase)
}

/// The error of a start whose task panicked, or ended with the runtime.
fn interrupted() -> ManagerError {
    ManagerError::Unavailable(BackendError::Unavailable("the start was interrupted".into()))
}

//! What users ask for: create, resume, stop and delete a session, within their limits.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use session_key::{Identity, SessionHash};
use tokio::time::timeout;

use super::{
    entry::Entry,
    error::{Limit, ManagerError},
    manager::Manager,
    view::{View, ViewState},
};
use crate::{
    backend::{BackendError, UnsavedWork},
    model::{Credentials, Phase, Session, Source, StopReason},
};

/// A session to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// What is worked on.
    pub source: Source,
    /// The first prompt, sent once; ignored if the session exists.
    pub initial_message: Option<String>,
}

/// The result of [`Manager::create`].
#[derive(Debug, Clone)]
pub struct Created {
    /// The session as it is now.
    pub view: Arc<View>,
    /// Whether it did not exist before.
    pub new: bool,
}

impl Manager {
    /// Creates and starts the session; one that exists is started if it does not run. When this returns,
    /// [`get`](Manager::get) returns the session.
    ///
    /// # Errors
    /// [`ManagerError`]. A session that cannot be cloned or started is no error: its view says so.
    pub async fn create(
        &self,
        user: &Identity,
        new: NewSession,
        credentials: &Credentials,
    ) -> Result<Created, ManagerError> {
        self.check_ready()?;
        let hash = match &new.source {
            Source::Repository { url, branch, .. } => SessionHash::of(user, url, branch),
            Source::Empty => self.unused_hash(),
        };
        let before = {
            let _guard = self.command_locks.lock(hash).await;
            let entry = self.index.get(hash);
            if entry.as_ref().is_some_and(|entry| entry.owner != *user || entry.has_conflict()) {
                return Err(ManagerError::Conflict);
            }
            let before = entry.as_ref().and_then(|entry| entry.view());
            let now = self.clock.now();
            let earliest = entry.as_ref().map_or(now, |entry| entry.earliest_creation(now));
            let existing = before.as_ref().and(entry).and_then(|entry| entry.session());
            if existing.as_ref().is_some_and(|session| !is_same_branch(&session.source, &new.source)) {
                return Err(ManagerError::Conflict);
            }
            let session = existing.unwrap_or_else(|| {
                let created_at = whole_millis(earliest);
                let NewSession { source, initial_message } = new;
                Arc::new(Session { hash, owner: user.clone(), source, initial_message, created_at })
            });
            self.start(&session, before.as_deref(), credentials).await?;
            before
        };
        let view = self.wait_visible(user, hash, |view| has_begun(view, before.as_deref())).await?;
        Ok(Created { view, new: before.is_none() })
    }

    /// Starts a session that is stopped or has failed. Succeeds if it runs.
    ///
    /// # Errors
    /// [`ManagerError`]
    pub async fn resume(
        &self,
        user: &Identity,
        hash: SessionHash,
        credentials: &Credentials,
    ) -> Result<Arc<View>, ManagerError> {
        let before = {
            let _guard = self.command_locks.lock(hash).await;
            let (entry, before) = self.owned(user, hash)?;
            let session = entry.session().ok_or(ManagerError::NotFound)?;
            self.start(&session, Some(&before), credentials).await?;
            before
        };
        self.wait_visible(user, hash, |view| has_begun(view, Some(&before))).await
    }

    /// Ends the session's process and keeps its files. Succeeds if it does not run.
    ///
    /// # Errors
    /// [`ManagerError`]
    pub async fn stop(&self, user: &Identity, hash: SessionHash) -> Result<Arc<View>, ManagerError> {
        {
            let _guard = self.command_locks.lock(hash).await;
            let (entry, _) = self.owned(user, hash)?;
            self.write_activity(&entry, Duration::ZERO).await;
            self.backend.stop(hash, StopReason::Requested).await?;
        }
        self.wait_visible(user, hash, |view| !is_active(view)).await
    }

    /// Deletes the session with all its files. When this returns, nobody sees it any more, though the
    /// deletion itself may still be in progress.
    ///
    /// # Errors
    /// [`ManagerError`]
    pub async fn delete(&self, user: &Identity, hash: SessionHash) -> Result<(), ManagerError> {
        let entry = {
            let _guard = self.command_locks.lock(hash).await;
            let (entry, _) = self.owned(user, hash)?;
            self.backend.delete(hash).await?;
            entry.set_pending_delete(self.clock.now(), &self.subscriptions);
            entry
        };
        if timeout(self.settings.visible_timeout, entry.wait_deleted()).await.is_err() {
            tracing::info!(session.hash = %hash, "the session is still being deleted");
        }
        Ok(())
    }

    /// Returns the last `lines` lines that the session's process (or the step that failed before it) wrote.
    ///
    /// # Errors
    /// [`ManagerError`]
    pub async fn logs(
        &self,
        user: &Identity,
        hash: SessionHash,
        lines: usize,
    ) -> Result<String, ManagerError> {
        self.owned(user, hash)?;
        Ok(self.backend.logs(hash, lines).await?)
    }

    /// Returns what deleting the session would lose; `None` if that is not known.
    ///
    /// # Errors
    /// [`ManagerError`]
    pub async fn unsaved_work(
        &self,
        user: &Identity,
        hash: SessionHash,
    ) -> Result<Option<UnsavedWork>, ManagerError> {
        self.owned(user, hash)?;
        Ok(self.backend.unsaved_work(hash).await?)
    }

    /// Starts the session within the user's limits, and shows it if it is new.
    async fn start(
        &self,
        session: &Arc<Session>,
        before: Option<&View>,
        credentials: &Credentials,
    ) -> Result<(), ManagerError> {
        let limited = self.settings.max_sessions.is_some()
            || self.settings.max_running.is_some()
            || self.start_limiter.is_limited();
        let _guard = if limited { Some(self.limit_locks.lock(session.owner.clone()).await) } else { None };
        self.check_limits(session, before)?;
        // Asking again for a session that runs or starts is free.
        if !before.is_some_and(is_active) {
            self.start_limiter.take(&session.owner)?;
        }
        self.backend.start(session, credentials).await?;
        if before.is_none() {
            self.index.add_pending(session, self.clock.now(), &self.subscriptions);
        } else if limited {
            // The next command counts this session, so it must be visible.
            let begun = |view: &View| has_begun(view, before);
            self.wait_visible(&session.owner, session.hash, begun).await?;
        }
        Ok(())
    }

    fn check_limits(&self, session: &Session, before: Option<&View>) -> Result<(), ManagerError> {
        let (mut kept, mut running) = (0, 0);
        for view in self.list(&session.owner) {
            if view.status.session.hash != session.hash {
                kept += 1;
                running += usize::from(is_active(&view));
            }
        }
        let check = |count: usize, max: Option<usize>, limit| match max {
            Some(max) if count >= max => Err(ManagerError::LimitReached { limit, max }),
            _ => Ok(()),
        };
        if before.is_none() {
            check(kept, self.settings.max_sessions, Limit::Kept)?;
        }
        check(running, self.settings.max_running, Limit::Running)
    }

    pub(super) fn check_ready(&self) -> Result<(), ManagerError> {
        if self.is_ready() {
            return Ok(());
        }
        let error = BackendError::Unavailable("it has not reported its sessions yet".into());
        Err(ManagerError::Unavailable(error))
    }

    /// Returns the user's session, if it is visible.
    pub(super) fn owned(
        &self,
        user: &Identity,
        hash: SessionHash,
    ) -> Result<(Arc<Entry>, Arc<View>), ManagerError> {
        self.check_ready()?;
        let entry = self.index.get_owned(user, hash).ok_or(ManagerError::NotFound)?;
        let view = entry.view().ok_or(ManagerError::NotFound)?;
        Ok((entry, view))
    }

    /// Waits, for a bounded time, until the view fulfils `expected`. Returns the view as it is then.
    pub(super) async fn wait_visible(
        &self,
        user: &Identity,
        hash: SessionHash,
        expected: impl Fn(&View) -> bool,
    ) -> Result<Arc<View>, ManagerError> {
        let mut subscription = self.subscribe(user);
        let visible = async {
            while !self.get(user, hash).is_some_and(|view| expected(&view)) {
                subscription.changed().await;
            }
        };
        if timeout(self.settings.visible_timeout, visible).await.is_err() {
            tracing::debug!(session.hash = %hash, "the backend has not reported the effect of a command yet");
        }
        // Not found: it was deleted meanwhile.
        self.get(user, hash).ok_or(ManagerError::NotFound)
    }

    fn unused_hash(&self) -> SessionHash {
        loop {
            let hash = SessionHash::from_bytes(rand::random());
            if self.index.get(hash).is_none() {
                return hash;
            }
        }
    }
}

/// Returns whether the session runs or starts.
fn is_active(view: &View) -> bool {
    matches!(view.state, ViewState::Creating | ViewState::Running)
}

fn is_same_branch(one: &Source, other: &Source) -> bool {
    match (one, other) {
        (
            Source::Repository { url, branch, .. },
            Source::Repository { url: other_url, branch: other_branch, .. },
        ) => url == other_url && branch == other_branch,
        _ => false,
    }
}

/// Returns whether an accepted start is visible: it is in progress or done, waits for the session to stop
/// first, or has failed again.
fn has_begun(view: &View, before: Option<&View>) -> bool {
    let unchanged = before.is_some_and(|before| {
        before.status.since == view.status.since && before.status.phase == view.status.phase
    });
    match view.status.phase {
        Phase::Starting | Phase::Running(_) | Phase::Stopping => true,
        // Some backends create a session first and then start it; since a start was accepted, that follows.
        Phase::Stopped(StopReason::NeverStarted) => false,
        Phase::Stopped(_) | Phase::Failed(_) => !unchanged,
    }
}

/// Truncates to milliseconds: backends store no more.
fn whole_millis(at: SystemTime) -> SystemTime {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use session_key::{Identity, SessionHash};
use thiserror::Error;
use tokio::time::timeout;

use super::{Manager, Status, View, slot::Slot};
use crate::{
    backend::{BackendError, UnsavedWork},
    model::{Credentials, Phase, Session, Source, StopReason},
};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// What is worked on.
    pub source: Source,
    /// The first prompt, to be sent once; only where the session is new.
    pub initial_message: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Created {
    /// The session as it is now.
    pub view: Arc<View>,
    /// It was not there before.
    pub new: bool,
}

/// Why a verb was not carried out.
#[derive(Debug, Error)]
pub enum ManagerError {
    /// There is no such session, or it is another's.
    #[error("there is no such session")]
    NotFound,
    /// The backend did not take it, now; asking again may work.
    #[error("sessions can't be managed now")]
    Unavailable(#[source] BackendError),
    /// The user has as many as one may have.
    #[error("no more than {max} sessions may {}", .limit.as_str())]
    LimitReached {
        /// Which limit.
        limit: Limit,
        /// How many are allowed.
        max: usize,
    },
    /// There is no space left where sessions are kept.
    #[error("no space is left where sessions are kept")]
    DiskFull,
}

/// What is limited, for each user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Sessions that exist.
    Kept,
    /// Sessions that run or start.
    Running,
}

impl Limit {
    /// What no more sessions may do.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "exist",
            Self::Running => "run",
        }
    }
}

impl From<BackendError> for ManagerError {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::NotFound => Self::NotFound,
            BackendError::DiskFull(_) => Self::DiskFull,
            other => Self::Unavailable(other),
        }
    }
}

impl Manager {
    /// Makes and starts the session; one that is there is started unless it runs. When this returns,
    /// [`get`](Manager::get) shows it.
    ///
    /// # Errors
    /// [`ManagerError`]. That it can't be cloned or started is none: its view will say so.
    pub async fn create(
        &self,
        who: &Identity,
        new: NewSession,
        credentials: &Credentials,
    ) -> Result<Created, ManagerError> {
        self.check_ready()?;
        let hash = match &new.source {
            Source::Repository { url, branch, .. } => SessionHash::of(who, url, branch),
            Source::Empty => self.unused_hash(),
        };
        let before = {
            let _turn = self.verbs.lock(hash).await;
            let slot = self.index.get(hash);
            if slot.as_ref().is_some_and(|slot| slot.owner != *who) {
                return Err(ManagerError::NotFound);
            }
            let before = slot.as_ref().and_then(|slot| slot.view());
            let earliest = slot.as_ref().map_or(self.clock.now(), |slot| slot.earliest(self.clock.now()));
            let known = before.as_ref().and(slot).and_then(|slot| slot.session());
            let session = known.unwrap_or_else(|| {
                let created_at = whole_millis(earliest);
                let NewSession { source, initial_message } = new;
                Arc::new(Session { hash, owner: who.clone(), source, initial_message, created_at })
            });
            self.start(&session, before.as_deref(), credentials).await?;
            before
        };
        let view = self.settled(who, hash, |view| has_begun(view, before.as_deref())).await?;
        Ok(Created { view, new: before.is_none() })
    }

    /// Starts a session that is stopped or has failed; success where it runs.
    ///
    /// # Errors
    /// [`ManagerError`]
    pub async fn resume(
        &self,
        who: &Identity,
        hash: SessionHash,
        credentials: &Credentials,
    ) -> Result<Arc<View>, ManagerError> {
        let before = {
            let _turn = self.verbs.lock(hash).await;
            let (slot, before) = self.own(who, hash)?;
            let session = slot.session().ok_or(ManagerError::NotFound)?;
            self.start(&session, Some(&before), credentials).await?;
            before
        };
        self.settled(who, hash, |view| has_begun(view, Some(&before))).await
    }

    /// Ends the session's process; its files stay. Success where there is none.
    ///
    /// # Errors
    /// [`ManagerError`]
    pub async fn stop(&self, who: &Identity, hash: SessionHash) -> Result<Arc<View>, ManagerError> {
        {
            let _turn = self.verbs.lock(hash).await;
            let (slot, _) = self.own(who, hash)?;
            self.write_activity(&slot, Duration::ZERO).await;
            self.backend.stop(hash, StopReason::Requested).await?;
        }
        let ends = |view: &View| !matches!(view.status, Status::Creating | Status::Running);
        self.settled(who, hash, ends).await
    }

    /// Removes the session with all its files. When this returns, nobody sees it any more, though the removal itself
    /// may still be under way.
    ///
    /// # Errors
    /// [`ManagerError`]
    pub async fn delete(&self, who: &Identity, hash: SessionHash) -> Result<(), ManagerError> {
        let slot = {
            let _turn = self.verbs.lock(hash).await;
            let (slot, _) = self.own(who, hash)?;
            self.backend.delete(hash).await?;
            slot.delete(self.clock.now(), &self.hub);
            slot
        };
        if timeout(self.settings.settle, slot.removal()).await.is_err() {
            tracing::info!(session.hash = %hash, "the session is still being removed");
        }
        Ok(())
    }

    /// The last `lines` lines that the session's process (or what failed before it) wrote.
    ///
    /// # Errors
    /// [`ManagerError`]
    pub async fn logs(
        &self,
        who: &Identity,
        hash: SessionHash,
        lines: usize,
    ) -> Result<String, ManagerError> {
        self.own(who, hash)?;
        Ok(self.backend.logs(hash, lines).await?)
    }

    /// What deleting the session would lose; `None` where it can't be told.
    ///
    /// # Errors
    /// [`ManagerError`]
    pub async fn unsaved_work(
        &self,
        who: &Identity,
        hash: SessionHash,
    ) -> Result<Option<UnsavedWork>, ManagerError> {
        self.own(who, hash)?;
        Ok(self.backend.unsaved_work(hash).await?)
    }

    /// Has the backend start it, within the user's limits, and shows it where it is new.
    async fn start(
        &self,
        session: &Arc<Session>,
        before: Option<&View>,
        credentials: &Credentials,
    ) -> Result<(), ManagerError> {
        let limited = self.settings.max_sessions.is_some() || self.settings.max_running.is_some();
        let _counted = if limited { Some(self.limits.lock(session.owner.clone()).await) } else { None };
        self.check_limits(session, before)?;
        self.backend.start(session, credentials).await?;
        if before.is_none() {
            self.index.expect(session, self.clock.now(), &self.hub);
        } else if limited {
            // The next one is to count this one.
            let begun = |view: &View| has_begun(view, before);
            self.settled(&session.owner, session.hash, begun).await?;
        }
        Ok(())
    }

    fn check_limits(&self, session: &Session, before: Option<&View>) -> Result<(), ManagerError> {
        let others =
            self.list(&session.owner).into_iter().filter(|view| view.observed.session.hash != session.hash);
        let (mut kept, mut running) = (0, 0);
        for view in others {
            kept += 1;
            running += usize::from(matches!(view.status, Status::Creating | Status::Running));
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

    fn check_ready(&self) -> Result<(), ManagerError> {
        if self.is_ready() {
            return Ok(());
        }
        let why = "it has not told yet which sessions there are";
        Err(ManagerError::Unavailable(BackendError::Unavailable(why.into())))
    }

    /// The user's session, if it is there to be seen.
    fn own(&self, who: &Identity, hash: SessionHash) -> Result<(Arc<Slot>, Arc<View>), ManagerError> {
        self.check_ready()?;
        let slot = self.index.of(who, hash).ok_or(ManagerError::NotFound)?;
        let view = slot.view().ok_or(ManagerError::NotFound)?;
        Ok((slot, view))
    }

    /// Waits, for a bounded time, until the session is seen as wanted; gives it as it is then.
    async fn settled(
        &self,
        who: &Identity,
        hash: SessionHash,
        wanted: impl Fn(&View) -> bool,
    ) -> Result<Arc<View>, ManagerError> {
        let mut changes = self.changes(who);
        let seen = async {
            while !self.get(who, hash).is_some_and(|view| wanted(&view)) {
                changes.next().await;
            }
        };
        if timeout(self.settings.settle, seen).await.is_err() {
            tracing::debug!(session.hash = %hash, "the backend has not told yet what came of it");
        }
        // Gone again: somebody deleted it meanwhile.
        self.get(who, hash).ok_or(ManagerError::NotFound)
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

/// Whether a start that was accepted shows: it is under way or done, waits for the end before it, or has failed
/// anew.
fn has_begun(view: &View, before: Option<&View>) -> bool {
    let same = before.is_some_and(|before| {
        before.observed.since == view.observed.since && before.observed.phase == view.observed.phase
    });
    match view.observed.phase {
        Phase::Starting | Phase::Running(_) | Phase::Stopping => true,
        // A backend may make a session first and start it then; a start was accepted, so that is to come.
        Phase::Stopped(StopReason::NeverStarted) => false,
        Phase::Stopped(_) | Phase::Failed(_) => !same,
    }
}

/// Backends keep times to the millisecond.
fn whole_millis(at: SystemTime) -> SystemTime {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

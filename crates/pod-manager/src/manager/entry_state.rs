//! What is known of one session, and the view that follows from it. Pure: it takes no locks and notifies
//! nobody.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    run_state::RunState,
    view::{self, View},
};
use crate::model::{Endpoint, Phase, Session, SessionStatus};

/// How long a change that the backend accepted is shown before the backend reports it.
pub(super) const OPTIMISTIC_TTL: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct EntryState {
    /// Whether the backend reports the session under another owner than this entry's. Nobody sees it then.
    conflict: bool,
    status: Option<Arc<SessionStatus>>,
    /// The first words of the first prompt.
    description: Option<String>,
    /// A start that the backend accepted and has not reported.
    pending_create: Option<(Arc<Session>, Instant)>,
    /// A deletion that the backend accepted and has not reported: of the session that was created at that
    /// time, or before.
    pending_delete: Option<(SystemTime, Instant)>,
    run: Option<(Endpoint, RunState, CancellationToken)>,
    /// Since when an idle stop is in progress.
    closing_since: Option<Instant>,
    notified: Notified,
    /// When activity was last written to the backend.
    activity_written_at: Option<SystemTime>,
}

/// The activity that subscribers know of, and when they were notified.
struct Notified {
    activity: SystemTime,
    at: SystemTime,
}

impl Default for Notified {
    fn default() -> Self {
        Self { activity: UNIX_EPOCH, at: UNIX_EPOCH }
    }
}

impl EntryState {
    /// Applies the backend's report. Returns the run and a token that is cancelled at its end, if the run is
    /// new.
    pub(super) fn apply(
        &mut self,
        status: &Arc<SessionStatus>,
        now: SystemTime,
        ran_before: bool,
    ) -> Option<(Endpoint, CancellationToken)> {
        self.conflict = false;
        let failed = |status: &SessionStatus| matches!(status.phase, Phase::Failed(_));
        let failed_now = failed(status) && !self.status.as_deref().is_some_and(failed);
        let deleted = self.pending_delete.is_some_and(|(created, _)| status.session.created_at <= created);
        if !deleted || failed_now {
            (self.pending_delete, self.pending_create) = (None, None);
        }
        match &status.session.initial_message {
            Some(message) => self.description = view::describe(message),
            None if self.is_other_session(status) => self.description = None,
            None => {}
        }
        self.status = Some(without_sent_prompt(status));
        let Phase::Running(endpoint) = &status.phase else {
            self.end_run();
            return None;
        };
        if self.run.as_ref().is_some_and(|(current, ..)| current.run_id == endpoint.run_id) {
            return None;
        }
        self.end_run();
        let prompt_done = status.first_prompt_sent || status.session.initial_message.is_none();
        let run = RunState::new(now, (ran_before && prompt_done).then_some(now));
        let token = CancellationToken::new();
        self.run = Some((endpoint.clone(), run, token.clone()));
        Some((endpoint.clone(), token))
    }

    /// Records that the backend no longer reports the session.
    pub(super) fn remove(&mut self) {
        self.end_run();
        (self.status, self.pending_delete, self.conflict) = (None, None, false);
    }

    /// Records that the backend reports the session under another owner. Returns whether the conflict is new.
    pub(super) fn set_conflict(&mut self) -> bool {
        self.end_run();
        (self.status, self.pending_create, self.pending_delete) = (None, None, None);
        !std::mem::replace(&mut self.conflict, true)
    }

    pub(super) fn has_conflict(&self) -> bool {
        self.conflict
    }

    pub(super) fn is_vacant(&self) -> bool {
        let Self { conflict, status, pending_create, pending_delete, .. } = self;
        !conflict && status.is_none() && pending_create.is_none() && pending_delete.is_none()
    }

    pub(super) fn is_deleting(&self) -> bool {
        self.pending_delete.is_some()
    }

    pub(super) fn earliest_creation(&self, now: SystemTime) -> SystemTime {
        self.pending_delete.map_or(now, |(created, _)| now.max(created + Duration::from_millis(1)))
    }

    /// Records an accepted start. Does nothing if the backend reports the session already.
    pub(super) fn set_pending_create(&mut self, session: &Arc<Session>) {
        if self.status.is_none() || self.is_deleting() {
            self.pending_create = Some((session.clone(), Instant::now()));
        }
    }

    pub(super) fn set_pending_delete(&mut self) {
        let created_at = self.session().map(|session| session.created_at);
        self.pending_create = None;
        self.pending_delete = created_at.map(|created_at| (created_at, Instant::now()));
    }

    /// Returns the session, as it was asked for.
    pub(super) fn session(&self) -> Option<&Arc<Session>> {
        let pending = self.pending_create.as_ref().map(|(session, _)| session);
        pending.or(self.status.as_ref().map(|status| &status.session))
    }

    /// Returns the backend's report and the state of this run, if the run is not over.
    pub(super) fn run(&self, run: &Endpoint) -> Option<(RunState, Arc<SessionStatus>)> {
        let (_, state, _) = self.run.as_ref().filter(|(current, ..)| current.run_id == run.run_id)?;
        Some((state.clone(), self.status.clone()?))
    }

    /// Returns the state of this run, if the run is not over.
    pub(super) fn run_mut(&mut self, run: &Endpoint) -> Option<&mut RunState> {
        let (_, state, _) = self.run.as_mut().filter(|(current, ..)| current.run_id == run.run_id)?;
        Some(state)
    }

    pub(super) fn set_closing(&mut self, closing: bool) {
        self.closing_since = closing.then(Instant::now);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing_since.is_some()
    }

    /// Drops what the backend did not confirm in time. Returns whether anything was dropped.
    pub(super) fn expire(&mut self) -> bool {
        let since = [
            self.pending_create.as_ref().map(|(_, since)| *since),
            self.pending_delete.map(|(_, since)| since),
            self.closing_since,
        ];
        let expired = since.into_iter().flatten().any(|since| since.elapsed() >= OPTIMISTIC_TTL);
        if expired {
            (self.pending_create, self.pending_delete, self.closing_since) = (None, None, None);
        }
        expired
    }

    /// Returns the newest activity that the backend has.
    pub(super) fn reported_activity(&self) -> Option<SystemTime> {
        self.status.as_ref().map(|status| status.last_activity)
    }

    /// Records that subscribers are notified of this activity now.
    pub(super) fn set_notified(&mut self, activity: SystemTime, now: SystemTime) {
        self.notified = Notified { activity, at: now };
    }

    /// Returns whether subscribers are to be notified of this activity now.
    pub(super) fn is_notification_due(
        &self,
        activity: SystemTime,
        now: SystemTime,
        interval: Duration,
    ) -> bool {
        activity > self.notified.activity && has_passed(interval, self.notified.at, now)
    }

    /// Returns whether this activity is to be written to the backend now; if so, records that it is written.
    pub(super) fn begin_write(&mut self, activity: SystemTime, now: SystemTime, interval: Duration) -> bool {
        let Some(reported) = self.reported_activity() else { return false };
        let due = self.activity_written_at.is_none_or(|at| has_passed(interval, at, now))
            && has_passed(interval, reported, now);
        let writes = activity > reported && due && !self.is_deleting();
        if writes {
            self.activity_written_at = Some(now);
        }
        writes
    }

    /// Makes the last write due again.
    pub(super) fn undo_write(&mut self) {
        self.activity_written_at = None;
    }

    /// Derives the view, with the activity that subscribers know of.
    pub(super) fn view(&self) -> Option<View> {
        if self.conflict {
            return None;
        }
        if let Some((session, _)) = &self.pending_create {
            let status = SessionStatus {
                session: session.clone(),
                phase: Phase::Starting,
                since: session.created_at,
                stages: Vec::new(),
                last_activity: session.created_at,
                first_prompt_sent: false,
                attach_tokens: Arc::default(),
            };
            let description = session.initial_message.as_deref().and_then(view::describe);
            let status = Arc::new(status);
            return Some(view::derive(&status, description.as_deref(), None, self.notified.activity, false));
        }
        let status = self.status.as_ref().filter(|_| !self.is_deleting())?;
        let run = self.run.as_ref().map(|(_, run, _)| run);
        let description = self.description.as_deref();
        Some(view::derive(status, description, run, self.notified.activity, self.is_closing()))
    }

    /// Returns whether the report is about another session than the one before, with the same hash.
    fn is_other_session(&self, status: &SessionStatus) -> bool {
        let created_at = self.status.as_ref().map(|known| known.session.created_at);
        created_at != Some(status.session.created_at)
    }

    /// Ends the run, and with it an idle stop.
    fn end_run(&mut self) {
        self.closing_since = None;
        if let Some((_, _, token)) = self.run.take() {
            token.cancel();
        }
    }
}

/// Drops the first prompt from the report once it was sent: it may be long, and is not read again.
fn without_sent_prompt(status: &Arc<SessionStatus>) -> Arc<SessionStatus> {
    if !status.first_prompt_sent || status.session.initial_message.is_none() {
        return status.clone();
    }
    let session = Session { initial_message: None, ..Session::clone(&status.session) };
    Arc::new(SessionStatus { session: Arc::new(session), ..SessionStatus::clone(status) })
}

/// Returns whether `interval` has passed since `then`. True if the clock went backwards: nobody knows then.
fn has_passed(interval: Duration, then: SystemTime, now: SystemTime) -> bool {
    now.duration_since(then).is_ok_and(|passed| passed >= interval) || now < then
}

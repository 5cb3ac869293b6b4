//! One session in the index: the backend's report, what was asked for and is not reported yet, and the run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use session_key::{Identity, SessionHash};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    run_state::RunState,
    subscriptions::Subscriptions,
    view::{self, View},
};
use crate::model::{Endpoint, Phase, Session, SessionStatus};

/// How long a change that the backend accepted is shown before the backend reports it.
const OPTIMISTIC_TTL: Duration = Duration::from_secs(60);

/// Everything that the manager holds of one session.
///
/// What requests need is read without a lock: the view, and the two atomics by which a request and an idle
/// stop see each other (see [`Entry::close_unless_routed`]).
pub(super) struct Entry {
    pub(super) hash: SessionHash,
    pub(super) owner: Identity,
    view: ArcSwapOption<View>,
    /// The newest activity, in milliseconds since 1970.
    touched: AtomicU64,
    /// How many requests have asked for the route.
    routes: AtomicU64,
    closing: AtomicBool,
    /// Whether a deletion is pending.
    deleting: watch::Sender<bool>,
    state: Mutex<EntryState>,
}

#[derive(Default)]
struct EntryState {
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

/// A run that was reported for the first time.
pub(super) struct NewRun {
    pub(super) entry: Arc<Entry>,
    pub(super) endpoint: Endpoint,
    /// Cancelled when the run is over.
    pub(super) token: CancellationToken,
}

impl Entry {
    pub(super) fn new(hash: SessionHash, owner: Identity) -> Arc<Self> {
        Arc::new(Self {
            hash,
            owner,
            view: ArcSwapOption::empty(),
            touched: AtomicU64::new(0),
            routes: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            deleting: watch::Sender::new(false),
            state: Mutex::default(),
        })
    }

    /// Returns the view; `None` while the session is being deleted, and once it is gone.
    pub(super) fn view(&self) -> Option<Arc<View>> {
        self.view.load_full()
    }

    /// Counts a request, and calls `decide` with the view and whether the session is about to be stopped.
    pub(super) fn count_route<T>(&self, decide: impl FnOnce(Option<&View>, bool) -> T) -> T {
        self.routes.fetch_add(1, Ordering::SeqCst);
        let closing = self.closing.load(Ordering::SeqCst);
        decide(self.view.load().as_deref(), closing)
    }

    /// Returns how many requests have been counted.
    pub(super) fn routes(&self) -> u64 {
        self.routes.load(Ordering::SeqCst)
    }

    pub(super) fn touch(&self, at: SystemTime) {
        let millis = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        self.touched.fetch_max(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Returns the newest activity: recorded here, or written to the backend by anyone.
    pub(super) fn last_activity(&self) -> SystemTime {
        let touched = self.touched();
        self.state.lock().status.as_ref().map_or(touched, |status| status.last_activity.max(touched))
    }

    /// Applies the backend's report. Returns the run, if it is a new one. `ran_before`: it may have started
    /// before this process, so that it is open to its owner at once.
    pub(super) fn apply(
        self: &Arc<Self>,
        status: &Arc<SessionStatus>,
        now: SystemTime,
        ran_before: bool,
        subscriptions: &Subscriptions,
    ) -> Option<NewRun> {
        let mut state = self.state.lock();
        state.conflict = false;
        let failed = |status: &SessionStatus| matches!(status.phase, Phase::Failed(_));
        let failed_now = failed(status) && !state.status.as_deref().is_some_and(failed);
        let deleted = state.pending_delete.is_some_and(|(created, _)| status.session.created_at <= created);
        if !deleted || failed_now {
            (state.pending_delete, state.pending_create) = (None, None);
        }
        match &status.session.initial_message {
            Some(message) => state.description = view::describe(message),
            None if state.is_other_session(status) => state.description = None,
            None => {}
        }
        state.status = Some(without_sent_prompt(status));
        let new = match &status.phase {
            Phase::Running(endpoint)
                if state.run.as_ref().is_none_or(|(run, ..)| run.run_id != endpoint.run_id) =>
            {
                let prompt_done = status.first_prompt_sent || status.session.initial_message.is_none();
                let token = CancellationToken::new();
                let run = RunState::new(now, (ran_before && prompt_done).then_some(now));
                state.end_run();
                state.run = Some((endpoint.clone(), run, token.clone()));
                Some(NewRun { entry: self.clone(), endpoint: endpoint.clone(), token })
            }
            Phase::Running(_) => None,
            _ => {
                state.end_run();
                None
            }
        };
        if new.is_some() || state.run.is_none() {
            self.cancel_closing(&mut state);
        }
        self.refresh_view(&mut state, now, subscriptions);
        new
    }

    /// Records that the backend no longer reports the session.
    pub(super) fn mark_removed(&self, now: SystemTime, subscriptions: &Subscriptions) {
        let mut state = self.state.lock();
        state.end_run();
        (state.status, state.pending_delete, state.conflict) = (None, None, false);
        self.cancel_closing(&mut state);
        self.refresh_view(&mut state, now, subscriptions);
    }

    /// Records that the backend reports the session under another owner. Until it reports the entry's owner
    /// again, or the session's removal, nobody sees the session. Returns whether the conflict is new.
    pub(super) fn set_conflict(&self, now: SystemTime, subscriptions: &Subscriptions) -> bool {
        let mut state = self.state.lock();
        state.end_run();
        (state.status, state.pending_create, state.pending_delete) = (None, None, None);
        self.cancel_closing(&mut state);
        let is_new = !std::mem::replace(&mut state.conflict, true);
        self.refresh_view(&mut state, now, subscriptions);
        is_new
    }

    pub(super) fn has_conflict(&self) -> bool {
        self.state.lock().conflict
    }

    /// Returns whether the entry holds no session, so that it may be removed.
    pub(super) fn is_vacant(&self) -> bool {
        let state = self.state.lock();
        let EntryState { conflict, status, pending_create, pending_delete, .. } = &*state;
        !conflict && status.is_none() && pending_create.is_none() && pending_delete.is_none()
    }

    /// Waits until the pending deletion, if there is one, is reported.
    pub(super) async fn wait_deleted(&self) {
        // The sender is in `self`, so it cannot be gone.
        let _ = self.deleting.subscribe().wait_for(|deleting| !deleting).await;
    }

    /// Returns the earliest creation time of a session that is asked for now: later than that of one that is
    /// being deleted, so that the two can be told apart.
    pub(super) fn earliest_creation(&self, now: SystemTime) -> SystemTime {
        let state = self.state.lock();
        state.pending_delete.map_or(now, |(created, _)| now.max(created + Duration::from_millis(1)))
    }

    /// Records that the backend accepted the start of a session that does not exist, or is being deleted.
    pub(super) fn set_pending_create(
        &self,
        session: &Arc<Session>,
        now: SystemTime,
        subscriptions: &Subscriptions,
    ) {
        let mut state = self.state.lock();
        if state.status.is_none() || state.pending_delete.is_some() {
            state.pending_create = Some((session.clone(), Instant::now()));
            self.refresh_view(&mut state, now, subscriptions);
        }
    }

    /// Records that the backend accepted the deletion of the session.
    pub(super) fn set_pending_delete(&self, now: SystemTime, subscriptions: &Subscriptions) {
        let mut state = self.state.lock();
        let pending = state.pending_create.take().map(|(session, _)| session.created_at);
        let created = pending.or(state.status.as_ref().map(|status| status.session.created_at));
        state.pending_delete = created.map(|created| (created, Instant::now()));
        self.refresh_view(&mut state, now, subscriptions);
    }

    /// Changes the state of this run; does nothing if the run is over.
    pub(super) fn update_run(
        &self,
        run: &Endpoint,
        now: SystemTime,
        subscriptions: &Subscriptions,
        update: impl FnOnce(&mut RunState),
    ) {
        let mut state = self.state.lock();
        if let Some((endpoint, run_state, _)) = &mut state.run
            && endpoint.run_id == run.run_id
        {
            update(run_state);
            self.refresh_view(&mut state, now, subscriptions);
        }
    }

    /// Returns the state of this run and the backend's report; `None` if the run is over.
    pub(super) fn run(&self, run: &Endpoint) -> Option<(RunState, Arc<SessionStatus>)> {
        let state = self.state.lock();
        let (_, run_state, _) = state.run.as_ref().filter(|(endpoint, ..)| endpoint.run_id == run.run_id)?;
        Some((run_state.clone(), state.status.clone()?))
    }

    /// Returns the session, as it was asked for.
    pub(super) fn session(&self) -> Option<Arc<Session>> {
        let state = self.state.lock();
        let pending = state.pending_create.as_ref().map(|(session, _)| session.clone());
        pending.or_else(|| state.status.as_ref().map(|status| status.session.clone()))
    }

    /// Refuses requests from now on, unless one was counted since `routes` was read. A request counts itself
    /// and then reads the mark; this sets the mark and then reads the count: so one of the two sees the
    /// other.
    pub(super) fn close_unless_routed(
        &self,
        routes: u64,
        now: SystemTime,
        subscriptions: &Subscriptions,
    ) -> bool {
        let mut state = self.state.lock();
        self.closing.store(true, Ordering::SeqCst);
        if self.routes() != routes {
            self.cancel_closing(&mut state);
            return false;
        }
        state.closing_since = Some(Instant::now());
        self.refresh_view(&mut state, now, subscriptions);
        true
    }

    /// Accepts requests again: the session was not stopped.
    pub(super) fn reopen(&self, now: SystemTime, subscriptions: &Subscriptions) {
        let mut state = self.state.lock();
        self.cancel_closing(&mut state);
        self.refresh_view(&mut state, now, subscriptions);
    }

    /// Drops what the backend did not confirm in time, and notifies of activity that subscribers do not know
    /// of, every `notify_interval` at most.
    pub(super) fn sweep(&self, now: SystemTime, notify_interval: Duration, subscriptions: &Subscriptions) {
        let mut state = self.state.lock();
        let expired = |since: &Instant| since.elapsed() >= OPTIMISTIC_TTL;
        let unconfirmed = state.pending_create.as_ref().is_some_and(|(_, since)| expired(since))
            || state.pending_delete.as_ref().is_some_and(|(_, since)| expired(since))
            || state.closing_since.as_ref().is_some_and(expired);
        if unconfirmed {
            (state.pending_create, state.pending_delete) = (None, None);
            self.cancel_closing(&mut state);
        }
        let touched = self.touched();
        let due = touched > state.notified.activity && has_passed(notify_interval, state.notified.at, now);
        if due {
            state.notified = Notified { activity: touched, at: now };
        }
        if due || unconfirmed {
            self.refresh_view(&mut state, now, subscriptions);
        }
    }

    /// Returns the activity to write to the backend now: newer than the backend's, and at least `interval`
    /// after the last write, whichever router made that.
    pub(super) fn activity_to_write(&self, now: SystemTime, interval: Duration) -> Option<SystemTime> {
        let touched = self.touched();
        let mut state = self.state.lock();
        let known = state.status.as_ref()?.last_activity;
        let due = state.activity_written_at.is_none_or(|at| has_passed(interval, at, now))
            && has_passed(interval, known, now);
        if touched <= known || !due || state.pending_delete.is_some() {
            return None;
        }
        state.activity_written_at = Some(now);
        Some(touched)
    }

    /// Makes the write of [`activity_to_write`](Self::activity_to_write) due again, since it failed.
    pub(super) fn activity_not_written(&self) {
        self.state.lock().activity_written_at = None;
    }

    fn cancel_closing(&self, state: &mut EntryState) {
        state.closing_since = None;
        self.closing.store(false, Ordering::SeqCst);
    }

    fn touched(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.touched.load(Ordering::SeqCst))
    }

    /// Derives the view again, and notifies subscribers if it changed. The newest activity is published along
    /// with it, and is no reason by itself. Called under the lock, so that views are published in order.
    fn refresh_view(&self, state: &mut EntryState, now: SystemTime, subscriptions: &Subscriptions) {
        let deleting = state.pending_delete.is_some();
        self.deleting.send_if_modified(|was| std::mem::replace(was, deleting) != deleting);
        let mut view = state.view();
        if self.view.load().as_deref() == view.as_ref() {
            return;
        }
        state.notified = Notified { activity: self.touched(), at: now };
        if let Some(view) = &mut view {
            view.last_activity = view.last_activity.max(state.notified.activity);
        }
        self.view.store(view.map(Arc::new));
        subscriptions.notify(&self.owner);
    }
}

impl EntryState {
    /// Derives the view, with the activity that subscribers know of.
    fn view(&self) -> Option<View> {
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
            };
            let description = session.initial_message.as_deref().and_then(view::describe);
            return Some(view::derive(
                &Arc::new(status),
                description.as_deref(),
                None,
                self.notified.activity,
                false,
            ));
        }
        let status = self.status.as_ref().filter(|_| self.pending_delete.is_none())?;
        let run = self.run.as_ref().map(|(_, run, _)| run);
        Some(view::derive(
            status,
            self.description.as_deref(),
            run,
            self.notified.activity,
            self.closing_since.is_some(),
        ))
    }

    /// Returns whether the report is about another session than the one before, with the same hash.
    fn is_other_session(&self, status: &SessionStatus) -> bool {
        let created_at = self.status.as_ref().map(|known| known.session.created_at);
        created_at != Some(status.session.created_at)
    }

    fn end_run(&mut self) {
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

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;

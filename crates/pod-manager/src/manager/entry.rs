//! One session in the index: its state under a lock, and what requests read without one.

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
use tokio::sync::{Notify, futures::Notified, watch};
use tokio_util::sync::CancellationToken;

use super::{
    entry_state::EntryState,
    event_ring::{EventRing, RingBudget},
    feed::Feed,
    run_state::RunState,
    subscriptions::Subscriptions,
    view::View,
};
use crate::{
    attach::AttachTokens,
    model::{Endpoint, Session, SessionStatus},
};

/// Everything that the manager holds of one session.
///
/// What requests need is read without a lock: the view, and the two atomics by which a request and an idle
/// stop see each other (see [`Entry::close_unless_routed`]).
pub(super) struct Entry {
    pub(super) hash: SessionHash,
    pub(super) owner: Identity,
    view: ArcSwapOption<View>,
    marks: RequestMarks,
    /// Whether a deletion is pending.
    deleting: watch::Sender<bool>,
    /// Notified when the view changes.
    changed: Notify,
    /// The attach tokens of the view, for those who were let in by one.
    attach_tokens: watch::Sender<Arc<AttachTokens>>,
    state: Mutex<EntryState>,
    /// The latest messages.
    pub(super) feed: Feed,
    /// The latest events, for clients that reconnect.
    pub(super) events: EventRing,
}

/// What each request writes. Apart from the rest, which requests only read: a core that writes takes the
/// cache line from the others.
#[derive(Default)]
#[repr(align(128))]
struct RequestMarks {
    /// The newest activity, in milliseconds since 1970.
    touched: AtomicU64,
    /// How many requests have asked for the route.
    routes: AtomicU64,
    closing: AtomicBool,
}

/// A run that was reported for the first time.
pub(super) struct NewRun {
    pub(super) entry: Arc<Entry>,
    pub(super) endpoint: Endpoint,
    /// Cancelled when the run is over.
    pub(super) token: CancellationToken,
}

impl Entry {
    pub(super) fn new(hash: SessionHash, owner: Identity, budget: Arc<RingBudget>) -> Arc<Self> {
        Arc::new(Self {
            hash,
            owner,
            view: ArcSwapOption::empty(),
            marks: RequestMarks::default(),
            deleting: watch::Sender::new(false),
            changed: Notify::new(),
            attach_tokens: watch::Sender::default(),
            state: Mutex::default(),
            feed: Feed::default(),
            events: EventRing::new(budget),
        })
    }

    /// Returns the view; `None` while the session is being deleted, and once it is gone.
    pub(super) fn view(&self) -> Option<Arc<View>> {
        self.view.load_full()
    }

    /// Resolves when the view changes, after this was called.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Counts a request, and calls `decide` with the view and whether the session is about to be stopped.
    pub(super) fn count_route<T>(&self, decide: impl FnOnce(Option<&View>, bool) -> T) -> T {
        self.marks.routes.fetch_add(1, Ordering::SeqCst);
        let closing = self.marks.closing.load(Ordering::SeqCst);
        decide(self.view.load().as_deref(), closing)
    }

    /// Receives the attach tokens that the session has from now on; none once it is gone.
    pub(super) fn watch_attach_tokens(&self) -> watch::Receiver<Arc<AttachTokens>> {
        self.attach_tokens.subscribe()
    }

    /// Returns how many requests have been counted.
    pub(super) fn routes(&self) -> u64 {
        self.marks.routes.load(Ordering::SeqCst)
    }

    pub(super) fn touch(&self, at: SystemTime) {
        let millis = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        // Most requests of a busy session find their millisecond recorded.
        if self.marks.touched.load(Ordering::SeqCst) < millis {
            self.marks.touched.fetch_max(millis, Ordering::SeqCst);
        }
    }

    /// Returns the newest activity: recorded here, or written to the backend by anyone.
    pub(super) fn last_activity(&self) -> SystemTime {
        let touched = self.touched();
        self.state.lock().reported_activity().map_or(touched, |reported| reported.max(touched))
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
        let new = self.update(now, subscriptions, |state| state.apply(status, now, ran_before));
        new.map(|(endpoint, token)| NewRun { entry: self.clone(), endpoint, token })
    }

    /// Records that the backend no longer reports the session.
    pub(super) fn mark_removed(&self, now: SystemTime, subscriptions: &Subscriptions) {
        self.update(now, subscriptions, EntryState::remove);
    }

    /// Records that the backend reports the session under another owner. Until it reports the entry's owner
    /// again, or the session's removal, nobody sees the session. Returns whether the conflict is new.
    pub(super) fn set_conflict(&self, now: SystemTime, subscriptions: &Subscriptions) -> bool {
        self.update(now, subscriptions, EntryState::set_conflict)
    }

    pub(super) fn has_conflict(&self) -> bool {
        self.state.lock().has_conflict()
    }

    /// Returns whether the entry holds no session, so that it may be removed.
    pub(super) fn is_vacant(&self) -> bool {
        self.state.lock().is_vacant()
    }

    /// Waits until the pending deletion, if there is one, is reported.
    pub(super) async fn wait_deleted(&self) {
        // The sender is in `self`, so it cannot be gone.
        let _ = self.deleting.subscribe().wait_for(|deleting| !deleting).await;
    }

    /// Returns the earliest creation time of a session that is asked for now: later than that of one that is
    /// being deleted, so that the two can be distinguished.
    pub(super) fn earliest_creation(&self, now: SystemTime) -> SystemTime {
        self.state.lock().earliest_creation(now)
    }

    /// Records that the backend accepted the start of a session that does not exist, or is being deleted.
    pub(super) fn set_pending_create(
        &self,
        session: &Arc<Session>,
        now: SystemTime,
        subscriptions: &Subscriptions,
    ) {
        self.update(now, subscriptions, |state| state.set_pending_create(session));
    }

    /// Records that the backend accepted the deletion of the session.
    pub(super) fn set_pending_delete(&self, now: SystemTime, subscriptions: &Subscriptions) {
        self.update(now, subscriptions, EntryState::set_pending_delete);
    }

    /// Changes the state of this run; does nothing if the run is over.
    pub(super) fn update_run(
        &self,
        run: &Endpoint,
        now: SystemTime,
        subscriptions: &Subscriptions,
        update: impl FnOnce(&mut RunState),
    ) {
        self.update(now, subscriptions, |state| {
            if let Some(run) = state.run_mut(run) {
                update(run);
            }
        });
    }

    /// Returns the state of this run and the backend's report; `None` if the run is over.
    pub(super) fn run(&self, run: &Endpoint) -> Option<(RunState, Arc<SessionStatus>)> {
        self.state.lock().run(run)
    }

    /// Returns the session, as it was asked for.
    pub(super) fn session(&self) -> Option<Arc<Session>> {
        self.state.lock().session().cloned()
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
        self.update(now, subscriptions, |state| {
            self.marks.closing.store(true, Ordering::SeqCst);
            let closes = self.routes() == routes;
            state.set_closing(closes);
            closes
        })
    }

    /// Accepts requests again: the session was not stopped.
    pub(super) fn reopen(&self, now: SystemTime, subscriptions: &Subscriptions) {
        self.update(now, subscriptions, |state| state.set_closing(false));
    }

    /// Drops what the backend did not confirm in time, and notifies of activity that subscribers do not know
    /// of, every `notify_interval` at most.
    pub(super) fn sweep(&self, now: SystemTime, notify_interval: Duration, subscriptions: &Subscriptions) {
        let mut state = self.state.lock();
        let touched = self.touched();
        let due = state.is_notification_due(touched, now, notify_interval);
        if due {
            state.set_notified(touched, now);
        }
        if state.expire() || due {
            self.publish(&mut state, now, subscriptions);
        }
    }

    /// Returns the activity to write to the backend now: newer than the backend's, and at least `interval`
    /// after the last write, whichever router made that.
    pub(super) fn activity_to_write(&self, now: SystemTime, interval: Duration) -> Option<SystemTime> {
        let touched = self.touched();
        self.state.lock().begin_write(touched, now, interval).then_some(touched)
    }

    /// Makes the write of [`activity_to_write`](Self::activity_to_write) due again, since it failed.
    pub(super) fn activity_not_written(&self) {
        self.state.lock().undo_write();
    }

    fn touched(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.marks.touched.load(Ordering::SeqCst))
    }

    /// Changes the state and publishes what follows, under one lock, so that views are published in order.
    fn update<T>(
        &self,
        now: SystemTime,
        subscriptions: &Subscriptions,
        change: impl FnOnce(&mut EntryState) -> T,
    ) -> T {
        let mut state = self.state.lock();
        let result = change(&mut state);
        self.publish(&mut state, now, subscriptions);
        result
    }

    /// Publishes what follows from the state, and notifies subscribers if the view changed. The newest
    /// activity is published along with it, and is no reason by itself.
    fn publish(&self, state: &mut EntryState, now: SystemTime, subscriptions: &Subscriptions) {
        self.marks.closing.store(state.is_closing(), Ordering::SeqCst);
        let deleting = state.is_deleting();
        self.deleting.send_if_modified(|was| std::mem::replace(was, deleting) != deleting);
        let mut view = state.view();
        if self.view.load().as_deref() != view.as_ref() {
            let activity = self.touched();
            state.set_notified(activity, now);
            if let Some(view) = &mut view {
                view.last_activity = view.last_activity.max(activity);
            }
            let tokens = view.as_ref().map(|view| view.status.attach_tokens.clone()).unwrap_or_default();
            self.attach_tokens.send_if_modified(|known| {
                let has_changed = *known != tokens;
                *known = tokens;
                has_changed
            });
            self.view.store(view.map(Arc::new));
            self.changed.notify_waiters();
            subscriptions.notify(&self.owner);
        }
    }
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;

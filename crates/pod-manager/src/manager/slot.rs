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
    changes::Hub,
    view::{RunFacts, View, view},
};
use crate::model::{Endpoint, Phase, Session, SessionStatus};

/// How long a session that was asked for, or deleted, is shown so without the backend telling of it.
const BELIEF: Duration = Duration::from_secs(60);

/// All that the manager holds of one session.
///
/// What requests need is read without a lock: the view, and the two marks by which a request and the reaper
/// see each other (see [`Slot::close_unless_routed`]).
pub(super) struct Slot {
    pub(super) hash: SessionHash,
    pub(super) owner: Identity,
    view: ArcSwapOption<View>,
    /// The newest activity, in milliseconds since 1970.
    touched: AtomicU64,
    /// Requests that asked for the way so far.
    routed: AtomicU64,
    closing: AtomicBool,
    /// Whether its removal is under way.
    deleting: watch::Sender<bool>,
    facts: Mutex<Facts>,
}

#[derive(Default)]
struct Facts {
    observed: Option<Arc<SessionStatus>>,
    /// A start was accepted that the backend has not told of yet.
    expected: Option<(Arc<Session>, Instant)>,
    /// Who was made at that time, or before, was deleted; the backend has not told yet that it is gone.
    deleted: Option<(SystemTime, Instant)>,
    run: Option<(Endpoint, RunFacts, CancellationToken)>,
    closing_since: Option<Instant>,
    /// The activity that viewers know of, and when they were told.
    told: Told,
    /// When activity was last written to the backend.
    written: Option<SystemTime>,
}

struct Told {
    activity: SystemTime,
    at: SystemTime,
}

impl Default for Told {
    fn default() -> Self {
        Self { activity: UNIX_EPOCH, at: UNIX_EPOCH }
    }
}

/// A run that has just been seen for the first time.
pub(super) struct NewRun {
    pub(super) slot: Arc<Slot>,
    pub(super) endpoint: Endpoint,
    /// Cancelled when the run is over.
    pub(super) token: CancellationToken,
}

impl Slot {
    pub(super) fn new(hash: SessionHash, owner: Identity) -> Arc<Self> {
        Arc::new(Self {
            hash,
            owner,
            view: ArcSwapOption::empty(),
            touched: AtomicU64::new(0),
            routed: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            deleting: watch::Sender::new(false),
            facts: Mutex::default(),
        })
    }

    /// `None` while it is deleted, or not there any more.
    pub(super) fn view(&self) -> Option<Arc<View>> {
        self.view.load_full()
    }

    /// The view, as a request sees it: `Ok` may be routed to.
    pub(super) fn look<T>(&self, how: impl FnOnce(Option<&View>, bool) -> T) -> T {
        self.routed.fetch_add(1, Ordering::SeqCst);
        let closing = self.closing.load(Ordering::SeqCst);
        how(self.view.load().as_deref(), closing)
    }

    pub(super) fn routed(&self) -> u64 {
        self.routed.load(Ordering::SeqCst)
    }

    pub(super) fn touch(&self, at: SystemTime) {
        let millis = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        self.touched.fetch_max(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// The newest activity: what was reported here, or written down before.
    pub(super) fn last_activity(&self) -> SystemTime {
        let touched = self.touched();
        self.facts.lock().observed.as_ref().map_or(touched, |observed| observed.last_activity.max(touched))
    }

    /// Takes in what the backend saw. Gives the run that began with it, if one did.
    /// `known`: it ran before this manager looked, so that it may be open to its owner at once.
    pub(super) fn apply(
        self: &Arc<Self>,
        observed: &Arc<SessionStatus>,
        now: SystemTime,
        known: bool,
        hub: &Hub,
    ) -> Option<NewRun> {
        let mut facts = self.facts.lock();
        let failed = |observed: &SessionStatus| matches!(observed.phase, Phase::Failed(_));
        let failed_now = failed(observed) && !facts.observed.as_deref().is_some_and(failed);
        let deleted = facts.deleted.is_some_and(|(made, _)| observed.session.created_at <= made);
        if !deleted || failed_now {
            (facts.deleted, facts.expected) = (None, None);
        }
        facts.observed = Some(observed.clone());
        let new = match &observed.phase {
            Phase::Running(endpoint)
                if facts.run.as_ref().is_none_or(|(run, ..)| run.run_id != endpoint.run_id) =>
            {
                let told = observed.first_prompt_sent || observed.session.initial_message.is_none();
                let token = CancellationToken::new();
                let run = RunFacts {
                    first_seen: now,
                    opened: (known && told).then_some(now),
                    busy: false,
                    unasked: None,
                    busy_at: None,
                    prompted: None,
                    title: None,
                    entry: None,
                };
                facts.end_run();
                facts.run = Some((endpoint.clone(), run, token.clone()));
                Some(NewRun { slot: self.clone(), endpoint: endpoint.clone(), token })
            }
            Phase::Running(_) => None,
            _ => {
                facts.end_run();
                None
            }
        };
        if new.is_some() || facts.run.is_none() {
            self.open_again(&mut facts);
        }
        self.show(&mut facts, now, hub);
        new
    }

    /// The backend has it no more.
    pub(super) fn removed(&self, now: SystemTime, hub: &Hub) {
        let mut facts = self.facts.lock();
        facts.end_run();
        (facts.observed, facts.deleted) = (None, None);
        self.open_again(&mut facts);
        self.show(&mut facts, now, hub);
    }

    /// Nothing is known of it: it may be forgotten.
    pub(super) fn is_vacant(&self) -> bool {
        let facts = self.facts.lock();
        facts.observed.is_none() && facts.expected.is_none() && facts.deleted.is_none()
    }

    /// Waits until the backend has told that the removal under way is done, if one is.
    pub(super) async fn removal(&self) {
        // The sender is in `self`: it can't be gone.
        let _ = self.deleting.subscribe().wait_for(|deleting| !deleting).await;
    }

    /// The earliest time for a session that is asked for now: later than one that is being removed, so that the
    /// two can be told apart.
    pub(super) fn earliest(&self, now: SystemTime) -> SystemTime {
        let facts = self.facts.lock();
        facts.deleted.map_or(now, |(made, _)| now.max(made + Duration::from_millis(1)))
    }

    /// The start of a session that is not there, or is being deleted, was accepted by the backend.
    pub(super) fn expect(&self, session: &Arc<Session>, now: SystemTime, hub: &Hub) {
        let mut facts = self.facts.lock();
        if facts.observed.is_none() || facts.deleted.is_some() {
            facts.expected = Some((session.clone(), Instant::now()));
            self.show(&mut facts, now, hub);
        }
    }

    /// The deletion of the session was accepted by the backend.
    pub(super) fn delete(&self, now: SystemTime, hub: &Hub) {
        let mut facts = self.facts.lock();
        let expected = facts.expected.take().map(|(session, _)| session.created_at);
        let made = expected.or(facts.observed.as_ref().map(|observed| observed.session.created_at));
        facts.deleted = made.map(|made| (made, Instant::now()));
        self.show(&mut facts, now, hub);
    }

    /// Changes what is known of this run; nothing where it is over.
    pub(super) fn learn(&self, run: &Endpoint, now: SystemTime, hub: &Hub, how: impl FnOnce(&mut RunFacts)) {
        let mut facts = self.facts.lock();
        if let Some((endpoint, known, _)) = &mut facts.run
            && endpoint.run_id == run.run_id
        {
            how(known);
            self.show(&mut facts, now, hub);
        }
    }

    /// What is known of this run, and since when it runs; `None` where it is over.
    pub(super) fn run(&self, run: &Endpoint) -> Option<(RunFacts, Arc<SessionStatus>)> {
        let facts = self.facts.lock();
        let (endpoint, known, _) = facts.run.as_ref()?;
        if endpoint.run_id != run.run_id {
            return None;
        }
        Some((known.clone(), facts.observed.clone()?))
    }

    /// The session, as it was asked for.
    pub(super) fn session(&self) -> Option<Arc<Session>> {
        let facts = self.facts.lock();
        let expected = facts.expected.as_ref().map(|(session, _)| session.clone());
        expected.or_else(|| facts.observed.as_ref().map(|observed| observed.session.clone()))
    }

    /// Refuses requests from now on, unless one came since `routed` was read. Each request counts itself and
    /// then looks at the mark; this marks and then looks at the count: so one of the two sees the other.
    pub(super) fn close_unless_routed(&self, routed: u64, now: SystemTime, hub: &Hub) -> bool {
        let mut facts = self.facts.lock();
        self.closing.store(true, Ordering::SeqCst);
        if self.routed.load(Ordering::SeqCst) != routed {
            self.open_again(&mut facts);
            return false;
        }
        facts.closing_since = Some(Instant::now());
        self.show(&mut facts, now, hub);
        true
    }

    /// Takes the mark back: it was not stopped after all.
    pub(super) fn reopen(&self, now: SystemTime, hub: &Hub) {
        let mut facts = self.facts.lock();
        self.open_again(&mut facts);
        self.show(&mut facts, now, hub);
    }

    /// Ends beliefs that the backend did not confirm in time, and shows activity that viewers do not know of,
    /// every `pace` at most.
    pub(super) fn sweep(&self, now: SystemTime, pace: Duration, hub: &Hub) {
        let mut facts = self.facts.lock();
        let over = |since: &Instant| since.elapsed() >= BELIEF;
        let stale = facts.expected.as_ref().is_some_and(|(_, since)| over(since))
            || facts.deleted.as_ref().is_some_and(|(_, since)| over(since))
            || facts.closing_since.as_ref().is_some_and(over);
        if stale {
            (facts.expected, facts.deleted) = (None, None);
            self.open_again(&mut facts);
        }
        let touched = self.touched();
        let due = touched > facts.told.activity && over_since(facts.told.at, now, pace);
        if due {
            facts.told = Told { activity: touched, at: now };
        }
        if due || stale {
            self.show(&mut facts, now, hub);
        }
    }

    /// The activity that is to be written to the backend now: newer than what it has, and not within `pace` of
    /// the last one, whichever router wrote that.
    pub(super) fn unwritten(&self, now: SystemTime, pace: Duration) -> Option<SystemTime> {
        let touched = self.touched();
        let mut facts = self.facts.lock();
        let known = facts.observed.as_ref()?.last_activity;
        let due = facts.written.is_none_or(|at| over_since(at, now, pace)) && over_since(known, now, pace);
        if touched <= known || !due || facts.deleted.is_some() {
            return None;
        }
        facts.written = Some(now);
        Some(touched)
    }

    /// What [`unwritten`](Self::unwritten) gave could not be written: it is due again.
    pub(super) fn not_written(&self) {
        self.facts.lock().written = None;
    }

    fn open_again(&self, facts: &mut Facts) {
        facts.closing_since = None;
        self.closing.store(false, Ordering::SeqCst);
    }

    fn touched(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.touched.load(Ordering::SeqCst))
    }

    /// Works the view out anew, and tells where it is another one; the newest activity is told with it, and is by
    /// itself no reason to. Under the lock, so that views follow each other as the facts do.
    fn show(&self, facts: &mut Facts, now: SystemTime, hub: &Hub) {
        let deleting = facts.deleted.is_some();
        self.deleting.send_if_modified(|was| std::mem::replace(was, deleting) != deleting);
        let mut shown = facts.view();
        if self.view.load().as_deref() == shown.as_ref() {
            return;
        }
        facts.told = Told { activity: self.touched(), at: now };
        if let Some(view) = &mut shown {
            view.last_activity = view.last_activity.max(facts.told.activity);
        }
        self.view.store(shown.map(Arc::new));
        hub.tell(&self.owner);
    }
}

/// Whether `pace` has passed since then; also where the clock went backwards, and nobody knows.
fn over_since(then: SystemTime, now: SystemTime, pace: Duration) -> bool {
    now.duration_since(then).is_ok_and(|passed| passed >= pace) || now < then
}

impl Facts {
    /// The view that follows, with the activity that viewers know of.
    fn view(&self) -> Option<View> {
        if let Some((session, _)) = &self.expected {
            let observed = SessionStatus {
                session: session.clone(),
                phase: Phase::Starting,
                since: session.created_at,
                stages: Vec::new(),
                last_activity: session.created_at,
                first_prompt_sent: false,
            };
            return Some(view(&Arc::new(observed), None, self.told.activity, false));
        }
        let observed = self.observed.as_ref().filter(|_| self.deleted.is_none())?;
        let run = self.run.as_ref().map(|(_, run, _)| run);
        Some(view(observed, run, self.told.activity, self.closing_since.is_some()))
    }

    fn end_run(&mut self) {
        if let Some((_, _, token)) = self.run.take() {
            token.cancel();
        }
    }
}

#[cfg(test)]
mod tests;

//! [`Manager`]: its parts, and the questions that it answers from memory.

use std::{
    cmp::Reverse,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use session_key::{Identity, SessionHash};
use tokio::sync::{Semaphore, broadcast, watch};

use super::{
    index::Index,
    leadership::{Leadership, LeadershipHistory},
    settings::ManagerSettings,
    start_limiter::StartLimiter,
    subscriptions::{Subscription, Subscriptions},
    thread_subscription::ThreadSubscription,
    view::{View, ViewState},
    waiting::Waiting,
};
use crate::{
    backend::SessionBackend, clock::Clock, keyed_mutex::KeyedMutex, model::Endpoint,
    opencode::OpencodeClient, user_secrets::UserSecrets,
};

/// How many openings a receiver of [`Manager::openings`] may leave unread.
const UNREAD_OPENINGS: usize = 256;

/// How many monitors make their first request to a session that ran before this process at once. A router
/// that starts finds all of them at once, and each request takes tens of kilobytes.
const CONCURRENT_TAKEOVERS: usize = 256;

/// How many followers ask opencode for everything at once. Each may read a megabyte.
const CONCURRENT_RELOADS: usize = 8;

/// Knows all sessions, and carries out what their owners ask.
///
/// Nobody sees or changes another user's session: it is as if it did not exist. Questions
/// ([`get`](Manager::get), [`list`](Manager::list), [`route`](Manager::route)) are answered from memory and
/// never wait. Commands run one at a time for each session; they wait until the backend has written down what
/// is asked, and for a bounded time until the effect is visible.
///
/// [`run`](Manager::run) must be running: it keeps the index up to date.
pub struct Manager {
    pub(super) backend: Arc<dyn SessionBackend>,
    pub(super) leadership: LeadershipHistory,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: ManagerSettings,
    pub(super) opencode: OpencodeClient,
    pub(super) index: Index,
    pub(super) subscriptions: Subscriptions,
    /// Held while a command on the session runs.
    pub(super) command_locks: KeyedMutex<SessionHash>,
    /// Held from counting a user's sessions until the new one is counted too.
    pub(super) limit_locks: KeyedMutex<Identity>,
    pub(super) start_limiter: StartLimiter,
    pub(super) waiting: Waiting,
    pub(super) ready: watch::Sender<bool>,
    pub(super) openings: broadcast::Sender<Opening>,
    pub(super) follow_stats: FollowStats,
    /// Held while a monitor makes its first request to a session that was open before.
    pub(super) takeover_permits: Semaphore,
    /// Held while a follower asks opencode for everything, so that a start does not ask all at once.
    pub(super) reload_permits: Semaphore,
    /// Held while a client of the user is sent the state of a session.
    pub(super) state_locks: KeyedMutex<Identity>,
}

/// Counts what the followers of event streams do.
#[derive(Debug, Default)]
pub(super) struct FollowStats {
    pub(super) connected: AtomicU64,
    pub(super) reconnects: AtomicU64,
    pub(super) events: AtomicU64,
    pub(super) lost: AtomicU64,
}

/// What the followers of the sessions' event streams do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Following {
    /// How many event streams are open.
    pub connected: u64,
    /// How often a stream had to be opened again.
    pub reconnects: u64,
    /// How many events were received.
    pub events: u64,
    /// How many events were too large to be kept.
    pub lost: u64,
}

/// A run that was opened to its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// The session.
    pub hash: SessionHash,
    /// How long the stage [`Ready`](crate::Stage::Ready) took: from opencode's first answer until now.
    pub duration: Duration,
    /// Whether this process sent the session's first prompt.
    pub sent_prompt: bool,
}

/// Why a request cannot be forwarded to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The session does not exist, or belongs to another user.
    #[error("no such session")]
    NotFound,
    /// The session does not run.
    #[error("the session is {}", .0.as_str())]
    NotRunning(ViewState),
}

impl Manager {
    /// Creates a manager of the sessions that `backend` runs. `leadership` decides whether this process stops
    /// idle sessions and sends first prompts.
    #[must_use]
    pub fn new(
        backend: Arc<dyn SessionBackend>,
        leadership: Arc<dyn Leadership>,
        clock: Arc<dyn Clock>,
        settings: ManagerSettings,
    ) -> Arc<Self> {
        Arc::new(Self {
            backend,
            leadership: LeadershipHistory::new(leadership),
            clock,
            start_limiter: StartLimiter::new(settings.max_starts_per_minute),
            settings,
            waiting: Waiting::default(),
            opencode: OpencodeClient::new(),
            index: Index::default(),
            subscriptions: Subscriptions::default(),
            command_locks: KeyedMutex::default(),
            limit_locks: KeyedMutex::default(),
            ready: watch::Sender::new(false),
            openings: broadcast::Sender::new(UNREAD_OPENINGS),
            follow_stats: FollowStats::default(),
            takeover_permits: Semaphore::new(CONCURRENT_TAKEOVERS),
            reload_permits: Semaphore::new(CONCURRENT_RELOADS),
            state_locks: KeyedMutex::default(),
        })
    }

    /// Returns the store of users' secrets, which the starts of their sessions use. It asks the backend.
    #[must_use]
    pub fn user_secrets(&self) -> &dyn UserSecrets {
        self.backend.user_secrets()
    }

    /// Returns the user's session as it is now, if there is one with this hash.
    pub fn get(&self, user: &Identity, hash: SessionHash) -> Option<Arc<View>> {
        self.index.get_owned(user, hash)?.view()
    }

    /// Returns the user's sessions, the most recently used one first.
    pub fn list(&self, user: &Identity) -> Vec<Arc<View>> {
        let mut views: Vec<_> = self.index.all_owned(user).iter().filter_map(|entry| entry.view()).collect();
        views.sort_by_key(|view| (Reverse(view.last_activity), view.status.session.hash));
        views
    }

    /// Subscribes to changes of what [`list`](Manager::list) returns for this user.
    pub fn subscribe(&self, user: &Identity) -> Subscription {
        self.subscriptions.subscribe(user)
    }

    /// Follows the latest messages of the user's session, if there is one with this hash. Only a running
    /// session has any.
    pub fn messages(&self, user: &Identity, hash: SessionHash) -> Option<ThreadSubscription> {
        let entry = self.index.get_owned(user, hash).filter(|entry| entry.view().is_some())?;
        Some(ThreadSubscription::new(entry))
    }

    /// Returns the endpoint of the user's session, for a request. Takes no lock and never waits.
    ///
    /// # Errors
    /// [`RouteError`]; a session that is about to be stopped counts as stopping.
    pub fn route(&self, user: &Identity, hash: SessionHash) -> Result<Endpoint, RouteError> {
        self.route_with(user, hash, |endpoint, _| endpoint.clone())
    }

    /// Does the same, but calls `read` with the endpoint and the view: a clone shares its reference counts
    /// with all requests of the session, and cores contend for them.
    ///
    /// # Errors
    /// Those of [`route`](Self::route).
    pub fn route_with<T>(
        &self,
        user: &Identity,
        hash: SessionHash,
        read: impl FnOnce(&Endpoint, &View) -> T,
    ) -> Result<T, RouteError> {
        self.index.with(hash, |entry| {
            let entry = entry.filter(|entry| entry.owner == *user).ok_or(RouteError::NotFound)?;
            entry.count_route(|view, closing| {
                let view = view.ok_or(RouteError::NotFound)?;
                match view.served() {
                    Some(_) if closing => Err(RouteError::NotRunning(ViewState::Stopping)),
                    Some(endpoint) => Ok(read(endpoint, view)),
                    None => Err(RouteError::NotRunning(view.state)),
                }
            })
        })
    }

    /// Records that a person used the session now. It is written to the backend, and visible in views, with a
    /// delay.
    pub fn touch(&self, hash: SessionHash) {
        self.index.with(hash, |entry| {
            if let Some(entry) = entry {
                entry.touch(self.clock.now());
            }
        });
    }

    /// Returns whether the backend has reported which sessions exist. Before that, nobody has sessions.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Waits until [`is_ready`](Manager::is_ready).
    pub async fn ready(&self) {
        // The sender is in `self`, so it cannot be gone.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// Receives each run that is opened to its owner from now on. No backend sees that.
    pub fn openings(&self) -> broadcast::Receiver<Opening> {
        self.openings.subscribe()
    }

    /// Returns whether this process is the one that stops idle sessions and sends first prompts.
    pub fn is_leader(&self) -> bool {
        self.leadership.is_leader()
    }

    /// Returns how many sessions of all users are in each state.
    pub fn counts(&self) -> [(ViewState, usize); 5] {
        let mut counts = ViewState::ALL.map(|state| (state, 0));
        for view in self.index.all().iter().filter_map(|entry| entry.view()) {
            if let Some((_, count)) = counts.iter_mut().find(|(state, _)| *state == view.state) {
                *count += 1;
            }
        }
        counts
    }

    /// Returns what the followers of the sessions' event streams do.
    pub fn following(&self) -> Following {
        let FollowStats { connected, reconnects, events, lost } = &self.follow_stats;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Following {
            connected: read(connected),
            reconnects: read(reconnects),
            events: read(events),
            lost: read(lost),
        }
    }

    /// Returns how often the backend has reported a known session under another owner.
    pub fn conflicts(&self) -> u64 {
        self.index.conflicts() + self.backend.conflicts()
    }

    /// Returns after how long without use a session is stopped.
    pub fn idle_timeout(&self) -> Duration {
        self.settings.idle_timeout
    }
}

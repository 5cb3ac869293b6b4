//! The manager, shared by all backends: the one index that every question is answered from, and the loops that
//! greet what came up and stop what is idle.

mod changes;
mod greeter;
mod index;
mod keeper;

mod reaper;
mod settings;
mod slot;
mod upkeep;
mod verbs;
mod view;

use std::{sync::Arc, time::Duration};

use session_key::{Identity, SessionHash};
use tokio::sync::{broadcast, watch};

use crate::keyed_mutex::KeyedMutex;
use crate::{
    backend::SessionBackend,
    clock::Clock,
    model::{Endpoint, Phase},
    opencode::Opencode,
};
use changes::Hub;
use index::Index;

pub use changes::Changes;
pub use settings::Settings;
pub use verbs::{Created, Limit, ManagerError, NewSession};
pub use view::{Status, View};

/// How many openings a listener may leave unread.
const UNREAD_OPENINGS: usize = 256;

/// Knows all sessions, and does with them what their owners ask.
///
/// Nobody sees or touches another's session: it is as if it were not there. Questions ([`get`](Manager::get),
/// [`list`](Manager::list), [`route`](Manager::route)) are answered from memory and wait for nothing. Verbs wait
/// for the backend to write down what is asked, and a little for it to be seen; one at a time for each session.
///
/// It does nothing by itself unless [`run`](Manager::run) is under way.
pub struct Manager {
    backend: Arc<dyn SessionBackend>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    opencode: Opencode,
    index: Index,
    hub: Hub,
    /// Held while a verb is under way.
    verbs: KeyedMutex<SessionHash>,
    /// Held from counting a user's sessions until one more is among them.
    limits: KeyedMutex<Identity>,
    ready: watch::Sender<bool>,
    openings: broadcast::Sender<Duration>,
    alone: reaper::Alone,
}

/// Why a request can't be sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// There is no such session, or it is another's.
    #[error("there is no such session")]
    NotFound,
    /// It is there, and does not run (or not yet).
    #[error("the session does not run: it is {}", .0.as_str())]
    NotRunning(Status),
}

impl Manager {
    /// A manager of what `backend` brings about.
    #[must_use]
    pub fn new(backend: Arc<dyn SessionBackend>, clock: Arc<dyn Clock>, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            backend,
            clock,
            settings,
            opencode: Opencode::new(),
            index: Index::default(),
            hub: Hub::default(),
            verbs: KeyedMutex::default(),
            limits: KeyedMutex::default(),
            ready: watch::Sender::new(false),
            openings: broadcast::Sender::new(UNREAD_OPENINGS),
            alone: reaper::Alone::default(),
        })
    }

    /// The session as it is now; `None` where the user has no such session.
    pub fn get(&self, who: &Identity, hash: SessionHash) -> Option<Arc<View>> {
        self.index.of(who, hash)?.view()
    }

    /// The user's sessions, the one used last first.
    pub fn list(&self, who: &Identity) -> Vec<Arc<View>> {
        let mut views: Vec<_> = self.index.all_of(who).iter().filter_map(|slot| slot.view()).collect();
        views.sort_by_key(|view| (std::cmp::Reverse(view.last_activity), view.observed.session.hash));
        views
    }

    /// Tells from now on when [`list`](Manager::list) would give something else to this user.
    pub fn changes(&self, who: &Identity) -> Changes {
        self.hub.subscribe(who)
    }

    /// Where the user's request to this session goes. It takes no lock and waits for nothing.
    ///
    /// # Errors
    /// [`NoRoute`]; a session that is about to be stopped runs no more.
    pub fn route(&self, who: &Identity, hash: SessionHash) -> Result<Endpoint, NoRoute> {
        self.index.with(hash, |slot| {
            let slot = slot.filter(|slot| slot.owner == *who).ok_or(NoRoute::NotFound)?;
            slot.look(|view, closing| {
                let view = view.ok_or(NoRoute::NotFound)?;
                match (&view.observed.phase, view.status) {
                    (Phase::Running(_), Status::Running) if closing => {
                        Err(NoRoute::NotRunning(Status::Stopping))
                    }
                    (Phase::Running(endpoint), Status::Running) => Ok(endpoint.clone()),
                    (_, status) => Err(NoRoute::NotRunning(status)),
                }
            })
        })
    }

    /// Notes that a person used the session now. It is written down, and viewers see it, somewhat later.
    pub fn touch(&self, hash: SessionHash) {
        self.index.with(hash, |slot| {
            if let Some(slot) = slot {
                slot.touch(self.clock.now());
            }
        });
    }

    /// Whether the backend has told what there is. Before that, nobody has sessions.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Waits until [`is_ready`](Manager::is_ready).
    pub async fn ready(&self) {
        // The sender is in `self`: it can't be gone.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// Tells from now on, of each run that comes up, how long the stage [`Ready`](crate::Stage::Ready) took: from opencode's first answer
    /// until it was open to its owner. A backend does not see that.
    pub fn openings(&self) -> broadcast::Receiver<Duration> {
        self.openings.subscribe()
    }

    /// Whether this process is the one that stops what is idle ([`SessionBackend::reaps`]).
    pub fn reaps(&self) -> bool {
        self.backend.reaps()
    }

    /// How many sessions there are of each status, of all users.
    pub fn counts(&self) -> [(Status, usize); 5] {
        let mut counts = Status::ALL.map(|status| (status, 0));
        for view in self.index.all().iter().filter_map(|slot| slot.view()) {
            if let Some((_, count)) = counts.iter_mut().find(|(status, _)| *status == view.status) {
                *count += 1;
            }
        }
        counts
    }

    /// After how long without use a session is stopped.
    pub fn idle_timeout(&self) -> Duration {
        self.settings.idle_timeout
    }
}

use std::{
    collections::{HashMap, HashSet},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use session_key::SessionHash;

use super::{MemoryBackend, State};
use crate::{
    backend::{BackendError, UnsavedWork},
    model::{Credentials, Failure, Password, Phase, Session, SessionStatus, Stage, StopReason},
};

/// The verbs, for [`MemoryBackend::refuse`] and [`MemoryBackend::calls`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the verbs of SessionBackend, by name")]
pub enum Verb {
    Start,
    Stop,
    Delete,
    Touch,
    Greeted,
    Logs,
    UnsavedWork,
}

/// What became of the sessions' processes while there was no router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// They ended with it, as child processes do.
    ProcessesEnded,
    /// They went on, as Pods do.
    ProcessesWentOn,
}

type Refuse = Arc<dyn Fn(Verb) -> Option<BackendError> + Send + Sync>;

#[derive(Clone)]
pub(super) struct Knobs {
    pub(super) held: HashSet<Stage>,
    pub(super) hold_stops: bool,
    pub(super) failures: HashMap<SessionHash, Failure>,
    pub(super) delay: Duration,
    pub(super) refuse: Option<Refuse>,
    pub(super) is_leader: bool,
    endpoint: (SocketAddr, Option<Password>),
    endpoints: HashMap<SessionHash, (SocketAddr, Option<Password>)>,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            held: HashSet::new(),
            hold_stops: false,
            failures: HashMap::new(),
            delay: Duration::ZERO,
            refuse: None,
            is_leader: true,
            // Port 9 (discard) of this machine: nobody answers there.
            endpoint: ((Ipv4Addr::LOCALHOST, 9).into(), None),
            endpoints: HashMap::new(),
        }
    }
}

impl Knobs {
    pub(super) fn endpoint_of(&self, hash: SessionHash) -> (SocketAddr, Option<Password>) {
        self.endpoints.get(&hash).unwrap_or(&self.endpoint).clone()
    }
}

impl MemoryBackend {
    fn turn(&self, how: impl FnOnce(&mut Knobs)) {
        self.shared.knobs.send_modify(how);
    }

    /// Every start waits in this stage until it is released.
    pub fn hold(&self, stage: Stage) {
        self.turn(|knobs| {
            knobs.held.insert(stage);
        });
    }

    /// Lets the starts that wait in this stage go on.
    pub fn release(&self, stage: Stage) {
        self.turn(|knobs| {
            knobs.held.remove(&stage);
        });
    }

    /// Sessions that stop, or are deleted, stay `Stopping` until it is undone.
    pub fn hold_stops(&self, hold: bool) {
        self.turn(|knobs| knobs.hold_stops = hold);
    }

    /// Sets whether this process is the leader ([`Leadership`](crate::Leadership)).
    pub fn set_leader(&self, is_leader: bool) {
        self.turn(|knobs| knobs.is_leader = is_leader);
    }

    /// What the last start of this session was given.
    #[must_use]
    pub fn credentials(&self, hash: SessionHash) -> Option<Credentials> {
        self.shared.state.lock().credentials.get(&hash).cloned()
    }

    /// Starts of this session fail so, until it is undone with `None`.
    pub fn fail_starts(&self, hash: SessionHash, failure: Option<Failure>) {
        self.turn(|knobs| {
            match failure {
                Some(failure) => knobs.failures.insert(hash, failure),
                None => knobs.failures.remove(&hash),
            };
        });
    }

    /// Ends a running session as one that broke again and again. Does nothing where it does not run.
    pub fn crash(&self, hash: SessionHash, failure: Failure) {
        let mut state = self.shared.state.lock();
        if let Some(record) = state.records.get_mut(&hash)
            && matches!(record.observed.phase, Phase::Running(_))
        {
            record.fail(failure, self.shared.clock.now());
            self.shared.change(record, |_| ());
        }
    }

    /// Rewrites what is recorded of a session, as somebody with access to the storage could.
    pub fn edit_session(&self, hash: SessionHash, edit: impl FnOnce(&mut Session)) {
        if let Some(record) = self.shared.state.lock().records.get_mut(&hash) {
            edit(Arc::make_mut(&mut Arc::make_mut(&mut record.observed).session));
            self.shared.change(record, |_| ());
        }
    }

    /// Where sessions that start from now on answer.
    pub fn set_endpoint(&self, address: SocketAddr, password: Option<Password>) {
        self.turn(|knobs| knobs.endpoint = (address, password));
    }

    /// Where this session answers once it starts.
    pub fn set_endpoint_of(&self, hash: SessionHash, address: SocketAddr, password: Option<Password>) {
        self.turn(|knobs| {
            knobs.endpoints.insert(hash, (address, password));
        });
    }

    /// Verbs for which `refuse` gives an error fail with it, and do nothing.
    pub fn refuse(&self, refuse: impl Fn(Verb) -> Option<BackendError> + Send + Sync + 'static) {
        self.turn(|knobs| knobs.refuse = Some(Arc::new(refuse)));
    }

    /// Verbs work again.
    pub fn refuse_nothing(&self) {
        self.turn(|knobs| knobs.refuse = None);
    }

    /// Every verb takes this long before it does anything.
    pub fn slow_verbs(&self, delay: Duration) {
        self.turn(|knobs| knobs.delay = delay);
    }

    /// What [`unsaved_work`](crate::SessionBackend::unsaved_work) tells of a session that is there.
    pub fn set_unsaved_work(&self, hash: SessionHash, unsaved: Option<UnsavedWork>) {
        if let Some(record) = self.shared.state.lock().records.get_mut(&hash) {
            record.unsaved = unsaved;
        }
    }

    /// How often this verb was called for this session.
    #[must_use]
    pub fn calls(&self, verb: Verb, hash: SessionHash) -> usize {
        self.shared.state.lock().calls.iter().filter(|call| **call == (verb, hash)).count()
    }

    /// The session as it is now.
    #[must_use]
    pub fn observed(&self, hash: SessionHash) -> Option<Arc<SessionStatus>> {
        self.shared.state.lock().records.get(&hash).map(|record| record.observed.clone())
    }

    /// How many processes the session has.
    #[must_use]
    pub fn processes(&self, hash: SessionHash) -> usize {
        self.shared.state.lock().records.get(&hash).map_or(0, |record| record.processes)
    }

    /// Ends this backend and opens another one on the same storage, with the same knobs.
    #[must_use]
    pub fn restart(&self, restart: Restart) -> Arc<Self> {
        let now = self.shared.clock.now();
        let mut records = {
            let state = self.shared.state.lock();
            self.shared.ended.cancel();
            state.records.clone()
        };
        if restart == Restart::ProcessesEnded {
            records.retain(|_, record| !record.deleting);
            for record in records.values_mut() {
                record.forget_process(StopReason::RouterCrashed, now);
            }
        }
        let state = State { records, ..State::default() };
        let next = Self::with(self.shared.clock.clone(), state, self.shared.knobs.borrow().clone());
        next.shared.state.lock().runs = self.shared.state.lock().runs;
        for record in next.shared.state.lock().records.values_mut() {
            record.adopt();
            match record.observed.phase {
                Phase::Starting => {
                    record.processes = 0;
                    next.shared.begin(record);
                }
                Phase::Stopping => {
                    let again = record.again.take();
                    next.shared.end(record, StopReason::Requested, record.deleting);
                    record.again = again;
                }
                Phase::Running(_) | Phase::Stopped(_) | Phase::Failed(_) => {}
            }
        }
        next
    }
}

//! The methods by which a test controls the backend and looks into it.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use session_key::{Identity, SessionHash};

use super::{
    backend::{MemoryBackend, Sessions},
    faults::{BackendCommand, Faults, Restart},
    stored_session::StoredSession,
};
use crate::{
    backend::{BackendError, UnsavedWork},
    model::{Credentials, Failure, Password, Phase, Session, SessionStatus, Stage, StopReason},
    ports::{ListeningPort, SessionPorts},
};

impl MemoryBackend {
    fn set_faults(&self, change: impl FnOnce(&mut Faults)) {
        self.shared.faults.send_modify(change);
    }

    /// Sets the ports that listen in the session.
    pub fn set_ports(&self, hash: SessionHash, listening: Vec<ListeningPort>) {
        let mut sessions = self.shared.sessions.lock();
        sessions.ports.entry(hash).or_default().send_replace(SessionPorts::new(listening));
    }

    /// Makes every start wait in this stage, until it is released.
    pub fn hold(&self, stage: Stage) {
        self.set_faults(|faults| {
            faults.held.insert(stage);
        });
    }

    /// Lets the starts that wait in this stage continue.
    pub fn release(&self, stage: Stage) {
        self.set_faults(|faults| {
            faults.held.remove(&stage);
        });
    }

    /// Sets whether sessions that are stopped or deleted stay `Stopping`.
    pub fn hold_stops(&self, hold: bool) {
        self.set_faults(|faults| faults.hold_stops = hold);
    }

    /// Sets whether this process is the leader ([`Leadership`](crate::Leadership)).
    pub fn set_leader(&self, is_leader: bool) {
        self.set_faults(|faults| faults.is_leader = is_leader);
    }

    /// Makes the starts of this session fail with `failure`; `None` undoes it.
    pub fn fail_starts(&self, hash: SessionHash, failure: Option<Failure>) {
        self.set_faults(|faults| {
            match failure {
                Some(failure) => faults.failures.insert(hash, failure),
                None => faults.failures.remove(&hash),
            };
        });
    }

    /// Ends a running session as one whose opencode crashed too often. Does nothing if it does not run.
    pub fn crash(&self, hash: SessionHash, failure: Failure) {
        let mut sessions = self.shared.sessions.lock();
        if let Some(stored) = sessions.stored.get_mut(&hash)
            && matches!(stored.status.phase, Phase::Running(_))
        {
            stored.fail(failure, self.shared.clock.now());
            self.shared.publisher.publish(&stored.status);
        }
    }

    /// Rewrites the recorded session, as somebody with access to the storage could.
    pub fn edit_session(&self, hash: SessionHash, edit: impl FnOnce(&mut Session)) {
        if let Some(stored) = self.shared.sessions.lock().stored.get_mut(&hash) {
            edit(Arc::make_mut(&mut stored.status.session));
            self.shared.publisher.publish(&stored.status);
        }
    }

    /// Shows a session in this state, whether or not a start of this backend could lead to it. A session that
    /// does not exist is created. Commands then continue from there.
    pub fn show(&self, status: SessionStatus) {
        let mut sessions = self.shared.sessions.lock();
        let stored = sessions
            .stored
            .entry(status.session.hash)
            .or_insert_with(|| StoredSession::new(status.session.clone(), self.shared.clock.now()));
        stored.status = status;
        self.shared.publisher.publish(&stored.status);
    }

    /// Sets the endpoint of sessions that start from now on.
    pub fn set_endpoint(&self, address: SocketAddr, password: Option<Password>) {
        self.set_faults(|faults| faults.endpoint = (address, password));
    }

    /// Sets the endpoint that this session has from its next start on.
    pub fn set_endpoint_of(&self, hash: SessionHash, address: SocketAddr, password: Option<Password>) {
        self.set_faults(|faults| {
            faults.endpoints.insert(hash, (address, password));
        });
    }

    /// Makes the commands for which `refuse` returns an error fail with it. They then do nothing.
    pub fn refuse(&self, refuse: impl Fn(BackendCommand) -> Option<BackendError> + Send + Sync + 'static) {
        self.set_faults(|faults| faults.refuse = Some(Arc::new(refuse)));
    }

    /// Makes all commands work again.
    pub fn refuse_nothing(&self) {
        self.set_faults(|faults| faults.refuse = None);
    }

    /// Makes every command wait this long before it does anything.
    pub fn delay_commands(&self, delay: Duration) {
        self.set_faults(|faults| faults.delay = delay);
    }

    /// Sets the answer of [`unsaved_work`](crate::SessionBackend::unsaved_work) for a session that exists.
    pub fn set_unsaved_work(&self, hash: SessionHash, unsaved: Option<UnsavedWork>) {
        if let Some(stored) = self.shared.sessions.lock().stored.get_mut(&hash) {
            stored.unsaved = unsaved;
        }
    }

    /// Returns the credentials of this session's last start.
    #[must_use]
    pub fn credentials(&self, hash: SessionHash) -> Option<Credentials> {
        self.shared.sessions.lock().credentials.get(&hash).cloned()
    }

    /// Returns the user's secrets, with their values.
    #[must_use]
    pub fn secrets(&self, user: &Identity) -> BTreeMap<String, Vec<u8>> {
        let sessions = self.shared.sessions.lock();
        let secrets = sessions.secrets.get(user).into_iter().flatten();
        secrets.map(|(name, value)| (name.clone(), value.expose().to_vec())).collect()
    }

    /// Returns how often this command was called for this session.
    #[must_use]
    pub fn calls(&self, command: BackendCommand, hash: SessionHash) -> usize {
        self.shared.sessions.lock().calls.iter().filter(|call| **call == (command, hash)).count()
    }

    /// Returns the session's present status; `None` if there is no such session.
    #[must_use]
    pub fn status(&self, hash: SessionHash) -> Option<SessionStatus> {
        self.shared.sessions.lock().stored.get(&hash).map(|stored| stored.status.clone())
    }

    /// Returns how many processes the session has.
    #[must_use]
    pub fn processes(&self, hash: SessionHash) -> usize {
        self.shared.sessions.lock().stored.get(&hash).map_or(0, |stored| stored.processes)
    }

    /// Ends this backend and opens another one on the same storage, which behaves in the same way.
    #[must_use]
    pub fn restart(&self, restart: Restart) -> Arc<Self> {
        let now = self.shared.clock.now();
        let (mut stored, runs, secrets) = {
            let sessions = self.shared.sessions.lock();
            self.shared.end();
            (sessions.stored.clone(), sessions.runs, sessions.secrets.clone())
        };
        if restart == Restart::ProcessesEnded {
            stored.retain(|_, stored| !stored.deleting);
            for stored in stored.values_mut() {
                stored.forget_process(StopReason::RouterCrashed, now);
            }
        }
        let sessions = Sessions { stored, runs, secrets, ..Sessions::default() };
        let next = Self::with(self.shared.clock.clone(), sessions, self.shared.faults.borrow().clone());
        for stored in next.shared.sessions.lock().stored.values_mut() {
            stored.adopt();
            next.shared.publisher.publish(&stored.status);
            match stored.status.phase {
                Phase::Starting => {
                    stored.processes = 0;
                    next.shared.begin_start(stored);
                }
                Phase::Stopping => {
                    let recreate_as = stored.recreate_as.take();
                    next.shared.begin_stop(stored, StopReason::Requested, stored.deleting);
                    stored.recreate_as = recreate_as;
                }
                Phase::Running(_) | Phase::Stopped(_) | Phase::Failed(_) => {}
            }
        }
        next
    }
}

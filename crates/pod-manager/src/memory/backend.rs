//! The backend itself: commands change the stored sessions, and a task walks each start through its stages.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use session_key::{Identity, SessionHash};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    faults::{BackendCommand, Faults},
    stored_session::{STAGES, StoredSession},
};
use crate::{
    attach::AttachChange,
    backend::{BackendError, SessionBackend, UnsavedWork, WatchEvent},
    clock::Clock,
    manager::leadership::Leadership,
    model::{Credentials, Endpoint, Phase, Session, StopReason},
    ports::{ListeningPort, SessionPorts},
    publisher::Publisher,
    user_secrets::{self, SecretsChange, SecretsError, StoredSecrets, UserSecrets},
};

/// Sessions in memory.
pub struct MemoryBackend {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) clock: Arc<dyn Clock>,
    /// Statuses are published under this lock, so that watchers see changes in their order.
    pub(super) sessions: Mutex<Sessions>,
    pub(super) faults: watch::Sender<Faults>,
    pub(super) publisher: Arc<Publisher>,
    ended: CancellationToken,
}

#[derive(Default)]
pub(super) struct Sessions {
    pub(super) stored: BTreeMap<SessionHash, StoredSession>,
    /// The number of starts so far, of any session; it names the runs.
    pub(super) runs: u64,
    pub(super) calls: Vec<(BackendCommand, SessionHash)>,
    /// The secrets of each user.
    pub(super) secrets: BTreeMap<Identity, StoredSecrets>,
    /// The ports of each session, for its watchers.
    pub(super) ports: BTreeMap<SessionHash, watch::Sender<SessionPorts>>,
    /// The credentials of each session's last start.
    pub(super) credentials: BTreeMap<SessionHash, Credentials>,
}

impl MemoryBackend {
    /// Creates a backend without sessions.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Self::with(clock, Sessions::default(), Faults::default())
    }

    pub(super) fn with(clock: Arc<dyn Clock>, sessions: Sessions, faults: Faults) -> Arc<Self> {
        Arc::new(Self {
            shared: Arc::new(Shared {
                clock,
                sessions: Mutex::new(sessions),
                faults: watch::Sender::new(faults),
                publisher: Publisher::new(),
                ended: CancellationToken::new(),
            }),
        })
    }

    /// Records the call, waits, and refuses it, as the test wants.
    async fn receive(&self, command: BackendCommand, hash: SessionHash) -> Result<(), BackendError> {
        self.shared.sessions.lock().calls.push((command, hash));
        self.check(command).await
    }

    /// Waits, and refuses the call, as the test wants.
    async fn check(&self, command: BackendCommand) -> Result<(), BackendError> {
        let (delay, error) = {
            let faults = self.shared.faults.borrow();
            (faults.delay, faults.refuse.as_ref().and_then(|refuse| refuse(command)))
        };
        if delay > Duration::ZERO {
            tokio::time::sleep(delay).await;
        }
        if self.shared.ended.is_cancelled() {
            return Err(BackendError::Unavailable("the backend has ended".into()));
        }
        error.map_or(Ok(()), Err)
    }
}

impl Drop for MemoryBackend {
    fn drop(&mut self) {
        self.shared.end();
    }
}

#[async_trait]
impl SessionBackend for MemoryBackend {
    async fn start(&self, session: &Session, credentials: &Credentials) -> Result<(), BackendError> {
        self.receive(BackendCommand::Start, session.hash).await?;
        let mut sessions = self.shared.sessions.lock();
        sessions.credentials.insert(session.hash, credentials.clone());
        let now = self.shared.clock.now();
        let stored = sessions
            .stored
            .entry(session.hash)
            .or_insert_with(|| StoredSession::new(Arc::new(session.clone()), now));
        match stored.status.phase {
            Phase::Starting | Phase::Running(_) => {}
            Phase::Stopping => stored.recreate_as = Some(Arc::new(session.clone())),
            Phase::Stopped(_) | Phase::Failed(_) => self.shared.begin_start(stored),
        }
        Ok(())
    }

    async fn stop(&self, hash: SessionHash, reason: StopReason) -> Result<(), BackendError> {
        self.receive(BackendCommand::Stop, hash).await?;
        if let Some(stored) = self.shared.sessions.lock().stored.get_mut(&hash) {
            match stored.status.phase {
                Phase::Starting | Phase::Running(_) => self.shared.begin_stop(stored, reason, false),
                Phase::Stopping => stored.recreate_as = None,
                Phase::Stopped(_) | Phase::Failed(_) => {}
            }
        }
        Ok(())
    }

    async fn delete(&self, hash: SessionHash) -> Result<(), BackendError> {
        self.receive(BackendCommand::Delete, hash).await?;
        let mut sessions = self.shared.sessions.lock();
        let Some(stored) = sessions.stored.get_mut(&hash) else { return Ok(()) };
        match stored.status.phase {
            Phase::Starting | Phase::Running(_) => {
                self.shared.begin_stop(stored, StopReason::Requested, true);
            }
            Phase::Stopping => {
                stored.deleting = true;
                stored.recreate_as = None;
            }
            Phase::Stopped(_) | Phase::Failed(_) => {
                sessions.stored.remove(&hash);
                self.shared.publisher.remove(hash);
            }
        }
        Ok(())
    }

    async fn touch(&self, hash: SessionHash, at: SystemTime) -> Result<(), BackendError> {
        self.receive(BackendCommand::Touch, hash).await?;
        if let Some(stored) = self.shared.sessions.lock().stored.get_mut(&hash)
            && stored.status.last_activity < at
        {
            stored.status.last_activity = at;
            self.shared.publisher.publish(&stored.status);
        }
        Ok(())
    }

    async fn mark_first_prompt_sent(&self, hash: SessionHash) -> Result<(), BackendError> {
        self.receive(BackendCommand::MarkFirstPromptSent, hash).await?;
        let mut sessions = self.shared.sessions.lock();
        let stored = sessions.stored.get_mut(&hash).ok_or(BackendError::NotFound)?;
        stored.status.first_prompt_sent = true;
        self.shared.publisher.publish(&stored.status);
        Ok(())
    }

    async fn change_attach_tokens(
        &self,
        hash: SessionHash,
        change: AttachChange,
    ) -> Result<(), BackendError> {
        self.receive(BackendCommand::ChangeAttachTokens, hash).await?;
        let mut sessions = self.shared.sessions.lock();
        let stored = sessions.stored.get_mut(&hash).ok_or(BackendError::NotFound)?;
        stored.status.attach_tokens =
            Arc::new(stored.status.attach_tokens.after(&change, self.shared.clock.now())?);
        self.shared.publisher.publish(&stored.status);
        Ok(())
    }

    fn watch(&self) -> BoxStream<'static, WatchEvent> {
        self.shared.publisher.watch()
    }

    async fn logs(&self, hash: SessionHash, lines: usize) -> Result<String, BackendError> {
        self.receive(BackendCommand::Logs, hash).await?;
        let sessions = self.shared.sessions.lock();
        let log: Vec<_> = sessions.stored.get(&hash).ok_or(BackendError::NotFound)?.log.lines().collect();
        Ok(log[log.len().saturating_sub(lines)..].join("\n"))
    }

    async fn unsaved_work(&self, hash: SessionHash) -> Result<Option<UnsavedWork>, BackendError> {
        self.receive(BackendCommand::UnsavedWork, hash).await?;
        Ok(self.shared.sessions.lock().stored.get(&hash).ok_or(BackendError::NotFound)?.unsaved)
    }

    fn user_secrets(&self) -> &dyn UserSecrets {
        self
    }

    fn watch_ports(&self, hash: SessionHash, _: &Endpoint) -> BoxStream<'static, SessionPorts> {
        let ports = self.shared.sessions.lock().ports.entry(hash).or_default().subscribe();
        let changes = stream::unfold((ports, true), |(mut ports, is_first)| async move {
            if !is_first {
                ports.changed().await.ok()?;
            }
            let current = ports.borrow_and_update().clone();
            Some((current, (ports, false)))
        });
        changes.boxed()
    }

    async fn report_ports(&self, hash: SessionHash, ports: &[u16]) -> Result<(), BackendError> {
        self.set_ports(hash, ports.iter().map(|&port| ListeningPort { port, process: None }).collect());
        Ok(())
    }

    async fn owns_port(&self, hash: SessionHash, port: u16) -> bool {
        let sessions = self.shared.sessions.lock();
        let Some(ports) = sessions.ports.get(&hash) else { return false };
        ports.borrow().listening.iter().any(|listening| listening.port == port)
    }

    async fn shutdown(&self) {
        let mut sessions = self.shared.sessions.lock();
        for stored in sessions.stored.values_mut() {
            stored.forget_process(StopReason::RouterStopped, self.shared.clock.now());
            self.shared.publisher.publish(&stored.status);
        }
        drop(sessions);
        self.shared.end();
    }
}

#[async_trait]
impl UserSecrets for MemoryBackend {
    async fn names(&self, user: &Identity) -> Result<Vec<String>, SecretsError> {
        self.check(BackendCommand::UserSecrets).await?;
        Ok(self.shared.sessions.lock().secrets.get(user).map(user_secrets::names).unwrap_or_default())
    }

    async fn change(&self, user: &Identity, change: SecretsChange) -> Result<Vec<String>, SecretsError> {
        self.check(BackendCommand::UserSecrets).await?;
        let mut sessions = self.shared.sessions.lock();
        let secrets = sessions.secrets.entry(user.clone()).or_default();
        *secrets = change.apply(secrets)?;
        Ok(user_secrets::names(secrets))
    }
}

impl Leadership for MemoryBackend {
    fn is_leader(&self) -> bool {
        self.shared.faults.borrow().is_leader
    }
}

impl Shared {
    /// Ends every watcher's stream and every task.
    pub(super) fn end(&self) {
        self.ended.cancel();
        self.publisher.end();
    }

    /// Starts a session that has no process; called under the lock.
    pub(super) fn begin_start(self: &Arc<Self>, stored: &mut StoredSession) {
        let token = stored.start(self.clock.now());
        self.publisher.publish(&stored.status);
        tokio::spawn(self.clone().run_start(stored.status.session.hash, token));
    }

    /// Walks a start through its stages until the session runs, fails, or the start is cancelled.
    async fn run_start(self: Arc<Self>, hash: SessionHash, token: CancellationToken) {
        for stage in STAGES {
            let mut faults = self.faults.subscribe();
            if !self.update(hash, &token, |stored, now| stored.enter_stage(stage, now)) {
                return;
            }
            tokio::select! {
                () = token.cancelled() => return,
                _ = faults.wait_for(|faults| !faults.held.contains(&stage)) => {}
            }
            let failure = self.faults.borrow().failures.get(&hash).cloned();
            if let Some(failure) = failure {
                self.update(hash, &token, |stored, now| stored.fail(failure, now));
                return;
            }
        }
        let run = {
            let mut sessions = self.sessions.lock();
            sessions.runs += 1;
            format!("run-{}", sessions.runs)
        };
        let (address, password) = self.faults.borrow().endpoint_of(hash);
        let endpoint = Endpoint { address, password, run_id: run.into() };
        self.update(hash, &token, |stored, now| stored.run(endpoint, now));
    }

    /// Changes a session unless this start of it was cancelled. Tokens are cancelled under the same lock.
    fn update(
        &self,
        hash: SessionHash,
        token: &CancellationToken,
        change: impl FnOnce(&mut StoredSession, SystemTime),
    ) -> bool {
        let mut sessions = self.sessions.lock();
        let Some(stored) = sessions.stored.get_mut(&hash) else { return false };
        if token.is_cancelled() || self.ended.is_cancelled() {
            return false;
        }
        change(stored, self.clock.now());
        self.publisher.publish(&stored.status);
        true
    }

    /// Cancels a start or ends a run; called under the lock.
    pub(super) fn begin_stop(
        self: &Arc<Self>,
        stored: &mut StoredSession,
        reason: StopReason,
        deleting: bool,
    ) {
        stored.stop(reason, deleting, self.clock.now());
        self.publisher.publish(&stored.status);
        let (shared, hash) = (self.clone(), stored.status.session.hash);
        tokio::spawn(async move {
            let mut faults = shared.faults.subscribe();
            let _ = faults.wait_for(|faults| !faults.hold_stops).await;
            shared.finish_stop(hash);
        });
    }

    /// The process has ended: does what was asked for meanwhile.
    fn finish_stop(self: &Arc<Self>, hash: SessionHash) {
        if self.ended.is_cancelled() {
            return;
        }
        let mut sessions = self.sessions.lock();
        let Some(stored) = sessions.stored.get_mut(&hash) else { return };
        stored.processes -= usize::from(stored.processes > 0);
        let recreate_as = stored.recreate_as.take();
        if stored.deleting {
            sessions.stored.remove(&hash);
            self.publisher.remove(hash);
            if let Some(session) = recreate_as {
                let new = || StoredSession::new(session, self.clock.now());
                self.begin_start(sessions.stored.entry(hash).or_insert_with(new));
            }
        } else if recreate_as.is_some() {
            self.begin_start(stored);
        } else {
            stored.stopped(self.clock.now());
            self.publisher.publish(&stored.status);
        }
    }
}

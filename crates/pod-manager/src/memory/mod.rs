//! A faithful backend in memory, with knobs, for tests.
//!
//! A start passes the stages `Cloning` and `Starting` (its "process" exists from the latter on) and ends
//! `Running`, or `Failed` where a failure was [asked for](MemoryBackend::fail_starts). Nothing takes time
//! unless it is [held](MemoryBackend::hold) or [slowed down](MemoryBackend::slow_verbs).

mod knobs;
mod record;

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use session_key::SessionHash;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

pub use crate::opencode::fake::{FakeOpencode, Message};
use crate::{
    backend::{BackendError, SessionBackend, UnsavedWork, WatchEvent},
    clock::Clock,
    manager::Leadership,
    model::{Credentials, Endpoint, Phase, Session, SessionStatus, Stage, StopReason},
};
use knobs::Knobs;
pub use knobs::{Restart, Verb};
use record::Record;

/// How many changes a watcher may leave unread before it gets a new snapshot instead.
pub const UNREAD_CHANGES: usize = 256;

/// The stages that a start passes here.
const STAGES: [Stage; 2] = [Stage::Cloning, Stage::Starting];

/// Sessions in memory. The knobs are described where they are: `hold`, `release`, `fail_starts`, `crash`, …
pub struct MemoryBackend {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    knobs: watch::Sender<Knobs>,
    news: broadcast::Sender<WatchEvent>,
    ended: CancellationToken,
}

#[derive(Default)]
struct State {
    records: BTreeMap<SessionHash, Record>,
    /// Starts so far, of any session: names the runs.
    runs: u64,
    calls: Vec<(Verb, SessionHash)>,
    /// Those of the last start.
    credentials: BTreeMap<SessionHash, Credentials>,
}

impl MemoryBackend {
    /// A backend without sessions.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Self::with(clock, State::default(), Knobs::default())
    }

    fn with(clock: Arc<dyn Clock>, state: State, knobs: Knobs) -> Arc<Self> {
        Arc::new(Self {
            shared: Arc::new(Shared {
                clock,
                state: Mutex::new(state),
                knobs: watch::Sender::new(knobs),
                news: broadcast::Sender::new(UNREAD_CHANGES),
                ended: CancellationToken::new(),
            }),
        })
    }

    /// What every verb does first: note the call, be slow, refuse.
    async fn enter(&self, verb: Verb, hash: SessionHash) -> Result<(), BackendError> {
        self.shared.state.lock().calls.push((verb, hash));
        let (delay, refusal) = {
            let knobs = self.shared.knobs.borrow();
            (knobs.delay, knobs.refuse.as_ref().and_then(|refuse| refuse(verb)))
        };
        if delay > Duration::ZERO {
            tokio::time::sleep(delay).await;
        }
        if self.shared.ended.is_cancelled() {
            return Err(BackendError::Unavailable("the backend has ended".into()));
        }
        refusal.map_or(Ok(()), Err)
    }
}

impl Drop for MemoryBackend {
    fn drop(&mut self) {
        self.shared.ended.cancel();
    }
}

#[async_trait]
impl SessionBackend for MemoryBackend {
    async fn start(&self, session: &Session, credentials: &Credentials) -> Result<(), BackendError> {
        self.enter(Verb::Start, session.hash).await?;
        let mut state = self.shared.state.lock();
        state.credentials.insert(session.hash, credentials.clone());
        let now = self.shared.clock.now();
        let record =
            state.records.entry(session.hash).or_insert_with(|| Record::new(Arc::new(session.clone()), now));
        match record.observed.phase {
            Phase::Starting | Phase::Running(_) => {}
            Phase::Stopping => record.again = Some(Arc::new(session.clone())),
            Phase::Stopped(_) | Phase::Failed(_) => self.shared.begin(record),
        }
        Ok(())
    }

    async fn stop(&self, hash: SessionHash, why: StopReason) -> Result<(), BackendError> {
        self.enter(Verb::Stop, hash).await?;
        if let Some(record) = self.shared.state.lock().records.get_mut(&hash) {
            match record.observed.phase {
                Phase::Starting | Phase::Running(_) => self.shared.end(record, why, false),
                Phase::Stopping => record.again = None,
                Phase::Stopped(_) | Phase::Failed(_) => {}
            }
        }
        Ok(())
    }

    async fn delete(&self, hash: SessionHash) -> Result<(), BackendError> {
        self.enter(Verb::Delete, hash).await?;
        let mut state = self.shared.state.lock();
        let Some(record) = state.records.get_mut(&hash) else { return Ok(()) };
        match record.observed.phase {
            Phase::Starting | Phase::Running(_) => self.shared.end(record, StopReason::Requested, true),
            Phase::Stopping => {
                record.deleting = true;
                record.again = None;
            }
            Phase::Stopped(_) | Phase::Failed(_) => {
                state.records.remove(&hash);
                self.shared.tell(WatchEvent::Removed(hash));
            }
        }
        Ok(())
    }

    async fn touch(&self, hash: SessionHash, at: SystemTime) -> Result<(), BackendError> {
        self.enter(Verb::Touch, hash).await?;
        if let Some(record) = self.shared.state.lock().records.get_mut(&hash)
            && record.observed.last_activity < at
        {
            self.shared.change(record, |observed| observed.last_activity = at);
        }
        Ok(())
    }

    async fn mark_first_prompt_sent(&self, hash: SessionHash) -> Result<(), BackendError> {
        self.enter(Verb::Greeted, hash).await?;
        let mut state = self.shared.state.lock();
        let record = state.records.get_mut(&hash).ok_or(BackendError::NotFound)?;
        self.shared.change(record, |observed| observed.first_prompt_sent = true);
        Ok(())
    }

    fn watch(&self) -> BoxStream<'static, WatchEvent> {
        let (shared, ended) = (Arc::downgrade(&self.shared), self.shared.ended.clone());
        stream::unfold(None, move |news| next(shared.clone(), news))
            .take_until(ended.cancelled_owned())
            .boxed()
    }

    async fn logs(&self, hash: SessionHash, lines: usize) -> Result<String, BackendError> {
        self.enter(Verb::Logs, hash).await?;
        let state = self.shared.state.lock();
        let log: Vec<_> = state.records.get(&hash).ok_or(BackendError::NotFound)?.log.lines().collect();
        Ok(log[log.len().saturating_sub(lines)..].join("\n"))
    }

    async fn unsaved_work(&self, hash: SessionHash) -> Result<Option<UnsavedWork>, BackendError> {
        self.enter(Verb::UnsavedWork, hash).await?;
        Ok(self.shared.state.lock().records.get(&hash).ok_or(BackendError::NotFound)?.unsaved)
    }

    async fn shutdown(&self) {
        let mut state = self.shared.state.lock();
        for record in state.records.values_mut() {
            record.forget_process(StopReason::RouterStopped, self.shared.clock.now());
            self.shared.tell(WatchEvent::Applied(record.observed.clone()));
        }
        drop(state);
        self.shared.ended.cancel();
    }
}

impl Leadership for MemoryBackend {
    fn is_leader(&self) -> bool {
        self.shared.knobs.borrow().is_leader
    }
}

/// The next thing to tell a watcher: a snapshot at first and after it fell behind, else the next change.
/// Subscribing and copying happen under one lock, so that nothing falls between the two.
async fn next(
    shared: Weak<Shared>,
    news: Option<broadcast::Receiver<WatchEvent>>,
) -> Option<(WatchEvent, Option<broadcast::Receiver<WatchEvent>>)> {
    if let Some(mut news) = news {
        match news.recv().await {
            Ok(change) => return Some((change, Some(news))),
            Err(broadcast::error::RecvError::Closed) => return None,
            Err(broadcast::error::RecvError::Lagged(_)) => {}
        }
    }
    let shared = shared.upgrade()?;
    let state = shared.state.lock();
    let news = shared.news.subscribe();
    let all = state.records.values().map(|record| record.observed.clone()).collect();
    Some((WatchEvent::Snapshot(all), Some(news)))
}

impl Shared {
    fn tell(&self, what: WatchEvent) {
        // No receiver is no error: nobody watches.
        let _ = self.news.send(what);
    }

    fn change(&self, record: &mut Record, how: impl FnOnce(&mut SessionStatus)) {
        how(Arc::make_mut(&mut record.observed));
        self.tell(WatchEvent::Applied(record.observed.clone()));
    }

    /// Starts a record that has no process; called under the lock.
    fn begin(self: &Arc<Self>, record: &mut Record) {
        let now = self.clock.now();
        let token = record.begin(now);
        self.tell(WatchEvent::Applied(record.observed.clone()));
        let (shared, hash) = (self.clone(), record.observed.session.hash);
        tokio::spawn(async move { shared.clone().drive(hash, token).await });
    }

    /// Walks a start through its stages until it runs, fails, or is called off.
    async fn drive(self: Arc<Self>, hash: SessionHash, token: CancellationToken) {
        for stage in STAGES {
            let mut knobs = self.knobs.subscribe();
            if !self.if_current(hash, &token, |record, now| record.enter_stage(stage, now)) {
                return;
            }
            tokio::select! {
                () = token.cancelled() => return,
                _ = knobs.wait_for(|knobs| !knobs.held.contains(&stage)) => {}
            }
            let failure = self.knobs.borrow().failures.get(&hash).cloned();
            if let Some(failure) = failure {
                self.if_current(hash, &token, |record, now| record.fail(failure, now));
                return;
            }
        }
        let run = {
            let mut state = self.state.lock();
            state.runs += 1;
            format!("run-{}", state.runs)
        };
        let (address, password) = self.knobs.borrow().endpoint_of(hash);
        let endpoint = Endpoint { address, password, run_id: run.into() };
        self.if_current(hash, &token, |record, now| record.run(endpoint, now));
    }

    /// Changes a record unless this start of it was called off; tokens are cancelled under the same lock.
    fn if_current(
        &self,
        hash: SessionHash,
        token: &CancellationToken,
        how: impl FnOnce(&mut Record, SystemTime),
    ) -> bool {
        let mut state = self.state.lock();
        let Some(record) = state.records.get_mut(&hash) else { return false };
        if token.is_cancelled() || self.ended.is_cancelled() {
            return false;
        }
        how(record, self.clock.now());
        self.tell(WatchEvent::Applied(record.observed.clone()));
        true
    }

    /// Calls a start off or ends a run; called under the lock.
    fn end(self: &Arc<Self>, record: &mut Record, why: StopReason, deleting: bool) {
        record.begin_end(why, deleting, self.clock.now());
        self.tell(WatchEvent::Applied(record.observed.clone()));
        let (shared, hash) = (self.clone(), record.observed.session.hash);
        tokio::spawn(async move {
            let mut knobs = shared.knobs.subscribe();
            let _ = knobs.wait_for(|knobs| !knobs.hold_stops).await;
            shared.ended_process(hash);
        });
    }

    /// The process is gone: what was asked for meanwhile happens now.
    fn ended_process(self: &Arc<Self>, hash: SessionHash) {
        if self.ended.is_cancelled() {
            return;
        }
        let mut state = self.state.lock();
        let Some(record) = state.records.get_mut(&hash) else { return };
        record.processes -= usize::from(record.processes > 0);
        let again = record.again.take();
        if record.deleting {
            state.records.remove(&hash);
            self.tell(WatchEvent::Removed(hash));
            if let Some(session) = again {
                let record =
                    state.records.entry(hash).or_insert_with(|| Record::new(session, self.clock.now()));
                self.begin(record);
            }
        } else if again.is_some() {
            self.begin(record);
        } else {
            record.stopped(self.clock.now());
            self.tell(WatchEvent::Applied(record.observed.clone()));
        }
    }
}

//! Sessions as child processes and folders of this machine.
//!
//! Each session has a folder under the state folder (`sessions/<hash>`) with its repository, opencode's data
//! and the log, and one task that drives it: clone, start `opencode serve`, wait until it answers, start it
//! again when it breaks, end it. What was asked for is written to the folder's `session.json` before a verb
//! returns, so that the next router knows it.
//!
//! The sessions' processes end with the router. After a router that was killed, the next one finds what was
//! left running and ends it before anything else: there are never two processes on one folder.

mod actor;
mod environment;
mod git;
mod group;
mod log;
mod news;
mod observe;
mod opencode;
mod record;
mod run;
mod settings;
mod store;
mod table;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::SystemTime,
};

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use parking_lot::Mutex;
use session_key::SessionHash;
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use crate::publisher::UNREAD_CHANGES;
use crate::{
    backend::{BackendError, SessionBackend, UnsavedWork, WatchEvent},
    clock::Clock,
    model::{Credentials, Session, StopReason},
    opencode::HttpClient,
    publisher::Publisher,
};
use actor::Actor;
use git::Git;
use news::{Command, What};
use record::{Kept, Record};
pub use settings::{Limits, LocalError, LocalSettings};
use store::{Store, remove_tree};

/// Sessions of this machine. It must be [shut down](SessionBackend::shutdown) to end them in good order;
/// dropped without, it kills their process groups, and the next one ends what that leaves.
pub struct LocalBackend {
    shared: Arc<Shared>,
}

/// What all sessions have in common.
struct Shared {
    settings: LocalSettings,
    store: Store,
    publisher: Arc<Publisher>,
    clock: Arc<dyn Clock>,
    http: HttpClient,
    ports: opencode::Ports,
    actors: Mutex<BTreeMap<SessionHash, mpsc::UnboundedSender<Command>>>,
    tasks: TaskTracker,
    /// Sessions of a newer router.
    newer: HashSet<SessionHash>,
    /// Sessions are to be ended in good order.
    closing: CancellationToken,
    /// Everything is to end at once.
    dropped: CancellationToken,
}

impl LocalBackend {
    /// Opens the state folder, ends what a killed router has left running, and takes up what is written
    /// down: sessions that ran are stopped, with [`StopReason::RouterCrashed`].
    ///
    /// # Errors
    /// Where the folder is in use by another router, was written by a newer one, or can't be used. A single
    /// session that can't be read is no error: it is set aside, and told in the log.
    pub async fn open(settings: LocalSettings, clock: Arc<dyn Clock>) -> Result<Arc<Self>, LocalError> {
        let root = settings.state_dir.clone();
        let (store, found) = off_thread(move || {
            let store = Store::open(&root)?;
            let found = store.load()?;
            Ok((store, found))
        })
        .await?;
        let leftovers = found
            .records
            .iter()
            .map(|record| table::Traits { leader: record.process, ..store.traits(record.session.hash) })
            .chain(found.unknown.iter().map(|hash| store.traits(*hash)))
            .collect();
        group::end_all(leftovers, settings.limits.stop).await;
        let now = clock.now();
        let (store, records) = off_thread(move || {
            let records = found.records.into_iter().map(|record| taken_up(&store, record, now));
            let records: Vec<_> = records.collect();
            Ok((store, records))
        })
        .await?;
        let shared = Arc::new(Shared {
            settings,
            store,
            publisher: Publisher::new(),
            clock,
            http: HttpClient::new(),
            ports: opencode::Ports::default(),
            actors: Mutex::default(),
            tasks: TaskTracker::new(),
            newer: found.newer,
            closing: CancellationToken::new(),
            dropped: CancellationToken::new(),
        });
        shared.clear_trash();
        for record in records {
            shared.publisher.publish(&observe::of(&record));
            let hash = record.session.hash;
            let mut actors = shared.actors.lock();
            let inbox = shared.spawn(hash, Some(record));
            actors.insert(hash, inbox);
        }
        Ok(Arc::new(Self { shared }))
    }

    /// Has it written down by the session's task. A session that has none is not there; `make` gives it one.
    async fn ask(&self, hash: SessionHash, what: What, make: bool) -> Result<(), BackendError> {
        if self.shared.newer.contains(&hash) {
            return Err(BackendError::Storage("a newer router wrote this session: it is left alone".into()));
        }
        let (answer, done) = oneshot::channel();
        {
            let mut actors = self.shared.actors.lock();
            // Under the lock: no task is made after the last one was waited for.
            if self.shared.closing.is_cancelled() {
                return Err(ending());
            }
            let inbox = match actors.get(&hash) {
                Some(inbox) => inbox.clone(),
                None if make => {
                    let inbox = self.shared.spawn(hash, None);
                    actors.insert(hash, inbox.clone());
                    inbox
                }
                None => {
                    return if matches!(what, What::Greeted) { Err(BackendError::NotFound) } else { Ok(()) };
                }
            };
            inbox.send(Command { what, answer }).map_err(|_| ending())?;
        }
        done.await.unwrap_or_else(|_| Err(ending()))
    }

    /// The folder of a session that is there.
    fn known(&self, hash: SessionHash) -> Result<std::path::PathBuf, BackendError> {
        self.shared.publisher.get(hash).ok_or(BackendError::NotFound)?;
        Ok(self.shared.store.dir(hash))
    }
}

#[async_trait]
impl SessionBackend for LocalBackend {
    async fn start(&self, session: &Session, _: &Credentials) -> Result<(), BackendError> {
        self.ask(session.hash, What::Start(Arc::new(session.clone())), true).await
    }

    async fn stop(&self, hash: SessionHash, why: StopReason) -> Result<(), BackendError> {
        self.ask(hash, What::Stop(why), false).await
    }

    async fn delete(&self, hash: SessionHash) -> Result<(), BackendError> {
        self.ask(hash, What::Delete, false).await
    }

    async fn touch(&self, hash: SessionHash, at: SystemTime) -> Result<(), BackendError> {
        self.ask(hash, What::Touch(at), false).await
    }

    async fn mark_first_prompt_sent(&self, hash: SessionHash) -> Result<(), BackendError> {
        self.ask(hash, What::Greeted, false).await
    }

    fn watch(&self) -> BoxStream<'static, WatchEvent> {
        self.shared.publisher.watch()
    }

    async fn logs(&self, hash: SessionHash, lines: usize) -> Result<String, BackendError> {
        let dir = self.known(hash)?;
        let tail = tokio::task::spawn_blocking(move || log::tail(&dir, lines)).await;
        tail.map_err(|error| BackendError::Storage(error.to_string()))?
            .map_err(|error| BackendError::Storage(error.to_string()))
    }

    async fn unsaved_work(&self, hash: SessionHash) -> Result<Option<UnsavedWork>, BackendError> {
        self.known(hash)?;
        let (settings, traits) = (&self.shared.settings, self.shared.store.traits(hash));
        let shared = self.shared.clone();
        let record = tokio::task::spawn_blocking(move || shared.store.read(hash)).await.ok().flatten();
        let first_commit = record.and_then(|record| record.first_commit);
        let git = Git::new(settings, traits, self.shared.dropped.child_token());
        Ok(git::unsaved_work(git, first_commit.as_deref(), settings.limits.question).await)
    }

    async fn shutdown(&self) {
        {
            // Under the lock: see `ask`.
            let _actors = self.shared.actors.lock();
            self.shared.closing.cancel();
        }
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.publisher.end();
        self.shared.store.release();
    }
}

impl Drop for LocalBackend {
    fn drop(&mut self) {
        self.shared.dropped.cancel();
        self.shared.publisher.end();
    }
}

impl Shared {
    /// Starts the task of one session; the caller holds the lock on `actors`.
    fn spawn(self: &Arc<Self>, hash: SessionHash, record: Option<Record>) -> mpsc::UnboundedSender<Command> {
        let (send, inbox) = mpsc::unbounded_channel();
        self.tasks.spawn(Actor::new(self.clone(), hash, record, inbox).go());
        send
    }

    /// The session of this task is gone: forgets the task, unless something was asked of it meanwhile.
    fn retire(&self, hash: SessionHash, inbox: &mpsc::UnboundedReceiver<Command>) -> bool {
        let mut actors = self.actors.lock();
        // Whoever sends holds the lock: what is empty now stays so.
        if inbox.is_empty() {
            actors.remove(&hash);
            return true;
        }
        false
    }

    /// Removes what the last router had no time to remove.
    fn clear_trash(&self) {
        let trash = self.store.trash();
        if trash.is_empty() {
            return;
        }
        tokio::task::spawn_blocking(move || {
            for path in trash {
                if let Err(error) = remove_tree(&path) {
                    tracing::error!(%error, path = %path.display(), "a removed session's files can't be removed");
                }
            }
        });
    }
}

/// A session as the next router takes it up: it has no process any more.
fn taken_up(store: &Store, mut record: Record, now: SystemTime) -> Record {
    let before = record.clone();
    record.process = None;
    if record.kept == Kept::Running {
        (record.kept, record.since) = (Kept::Stopped(StopReason::RouterCrashed), now);
    }
    if record != before
        && let Err(error) = store.write(&record)
    {
        tracing::error!(session.hash = %record.session.hash, %error, "a session's record can't be written");
    }
    record
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LocalError> + Send + 'static,
) -> Result<T, LocalError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(LocalError::Setup(error.to_string())))
}

fn ending() -> BackendError {
    BackendError::Unavailable("the router is ending".into())
}

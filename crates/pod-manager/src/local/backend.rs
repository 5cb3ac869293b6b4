//! The backend: opens the state folder, and passes commands to the sessions' tasks.

use std::{collections::HashSet, path::PathBuf, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use session_key::{Identity, SessionHash};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    actor::Actor,
    config::LocalSettings,
    context::{Context, Inboxes},
    error::{LocalError, backend_error},
    event::{Command, Request},
    files::remove_tree,
    git::{self, Git},
    log, port_finder,
    ports::Ports,
    proc_table::ProcessSelector,
    process_group,
    secret_files::SecretFiles,
    session_file::SavedSession,
    state_folder::StateFolder,
    status,
};
use crate::{
    attach::AttachChange,
    backend::{BackendError, SessionBackend, UnsavedWork, WatchEvent},
    clock::Clock,
    model::{Credentials, Endpoint, Session, StopReason},
    opencode::health::HealthChecks,
    persisted::PersistedState,
    ports::SessionPorts,
    publisher::Publisher,
    user_secrets::{self, SecretsChange, SecretsError, UserSecrets},
};

/// Sessions of this machine. [Shut it down](SessionBackend::shutdown) to stop them in an orderly way; a
/// backend that is dropped kills their process groups, and the next one ends what is left.
pub struct LocalBackend {
    context: Arc<Context>,
    tasks: TaskTracker,
    /// Sessions that a newer router wrote.
    newer: HashSet<SessionHash>,
}

impl LocalBackend {
    /// Opens the state folder, ends what a killed router left running, and adopts the sessions in it: those
    /// that ran are stopped, with [`StopReason::RouterCrashed`].
    ///
    /// # Errors
    /// If another router uses the folder, a newer one wrote it, or it can't be used. A single session that
    /// can't be read is no error: it is set aside and logged.
    pub async fn open(settings: LocalSettings, clock: Arc<dyn Clock>) -> Result<Arc<Self>, LocalError> {
        let root = settings.state_dir.clone();
        let (folder, content) = off_thread(move || {
            let folder = StateFolder::open(&root)?;
            let content = folder.load()?;
            Ok((folder, content))
        })
        .await?;
        let with_leader = |saved: &SavedSession| ProcessSelector {
            leader: saved.process,
            ..folder.selector(saved.session.hash)
        };
        let unreadable = content.unreadable.iter().map(|hash| folder.selector(*hash));
        let leftovers = content.sessions.iter().map(with_leader).chain(unreadable).collect();
        process_group::end_all(leftovers, settings.limits.stop).await;
        let now = clock.now();
        let (folder, sessions) = off_thread(move || {
            let adopted = content.sessions.into_iter().map(|saved| adopt(&folder, saved, now));
            let adopted: Vec<_> = adopted.collect();
            Ok((folder, adopted))
        })
        .await?;
        let context = Arc::new(Context {
            settings,
            secrets: SecretFiles::new(folder.secrets_dir()),
            folder,
            publisher: Publisher::new(),
            clock,
            health_checks: HealthChecks::new(),
            ports: Ports::default(),
            port_finder: Arc::default(),
            inboxes: Inboxes::default(),
            closing: CancellationToken::new(),
            dropped: CancellationToken::new(),
        });
        let backend = Self { context, tasks: TaskTracker::new(), newer: content.newer };
        backend.clear_trash();
        for saved in sessions {
            backend.context.publisher.publish(&status::of(&saved));
            let hash = saved.session.hash;
            let mut inboxes = backend.context.inboxes.lock();
            let inbox = backend.spawn(hash, Some(saved));
            inboxes.insert(hash, inbox);
        }
        Ok(Arc::new(backend))
    }

    /// Passes a command to the session's task, and waits until it is written. A start spawns the task if
    /// there is none.
    async fn send(&self, hash: SessionHash, command: Command) -> Result<(), BackendError> {
        if self.newer.contains(&hash) {
            let message = "the session was written by a newer router, and is not touched";
            return Err(BackendError::Storage(message.into()));
        }
        let (result, written) = oneshot::channel();
        {
            let mut inboxes = self.context.inboxes.lock();
            // Checked under the lock: no task is spawned after the last one was waited for.
            if self.context.closing.is_cancelled() {
                return Err(shutting_down());
            }
            let inbox = match (inboxes.get(&hash), &command) {
                (Some(inbox), _) => inbox.clone(),
                (None, Command::Start(..)) => {
                    let inbox = self.spawn(hash, None);
                    inboxes.insert(hash, inbox.clone());
                    inbox
                }
                (None, Command::MarkFirstPromptSent | Command::ChangeAttachTokens(_)) => {
                    return Err(BackendError::NotFound);
                }
                (None, Command::Stop(_) | Command::Delete | Command::Touch(_)) => return Ok(()),
            };
            inbox.send(Request { command, result }).map_err(|_| shutting_down())?;
        }
        written.await.unwrap_or_else(|_| Err(shutting_down()))
    }

    /// Spawns the task of one session; the caller holds the lock on the inboxes.
    fn spawn(&self, hash: SessionHash, saved: Option<SavedSession>) -> mpsc::UnboundedSender<Request> {
        let (sender, inbox) = mpsc::unbounded_channel();
        self.tasks.spawn(Actor::new(self.context.clone(), hash, saved, inbox).run());
        sender
    }

    /// Returns the folder of an existing session.
    fn session_dir(&self, hash: SessionHash) -> Result<PathBuf, BackendError> {
        self.context.publisher.get(hash).ok_or(BackendError::NotFound)?;
        Ok(self.context.folder.session_dir(hash))
    }

    /// Removes what the last router had no time to remove.
    fn clear_trash(&self) {
        let trash = self.context.folder.trash();
        if trash.is_empty() {
            return;
        }
        tokio::task::spawn_blocking(move || {
            for path in trash {
                if let Err(error) = remove_tree(&path) {
                    tracing::error!(
                        %error, path = %path.display(), "removing files of a deleted session failed",
                    );
                }
            }
        });
    }
}

#[async_trait]
impl SessionBackend for LocalBackend {
    async fn start(&self, session: &Session, credentials: &Credentials) -> Result<(), BackendError> {
        let command = Command::Start(Arc::new(session.clone()), credentials.git_author.clone());
        self.send(session.hash, command).await
    }

    async fn stop(&self, hash: SessionHash, reason: StopReason) -> Result<(), BackendError> {
        self.send(hash, Command::Stop(reason)).await
    }

    async fn delete(&self, hash: SessionHash) -> Result<(), BackendError> {
        self.send(hash, Command::Delete).await
    }

    async fn touch(&self, hash: SessionHash, at: SystemTime) -> Result<(), BackendError> {
        self.send(hash, Command::Touch(at)).await
    }

    async fn mark_first_prompt_sent(&self, hash: SessionHash) -> Result<(), BackendError> {
        self.send(hash, Command::MarkFirstPromptSent).await
    }

    async fn change_attach_tokens(
        &self,
        hash: SessionHash,
        change: AttachChange,
    ) -> Result<(), BackendError> {
        self.send(hash, Command::ChangeAttachTokens(change)).await
    }

    fn watch(&self) -> BoxStream<'static, WatchEvent> {
        self.context.publisher.watch()
    }

    async fn logs(&self, hash: SessionHash, lines: usize) -> Result<String, BackendError> {
        let dir = self.session_dir(hash)?;
        let tail = tokio::task::spawn_blocking(move || log::tail(&dir, lines)).await;
        tail.map_err(|error| BackendError::Storage(error.to_string()))?
            .map_err(|error| BackendError::Storage(error.to_string()))
    }

    async fn unsaved_work(&self, hash: SessionHash) -> Result<Option<UnsavedWork>, BackendError> {
        self.session_dir(hash)?;
        let (settings, selector) = (&self.context.settings, self.context.folder.selector(hash));
        let context = self.context.clone();
        let saved = tokio::task::spawn_blocking(move || context.folder.read(hash)).await.ok().flatten();
        let first_commit = saved.and_then(|saved| saved.first_commit);
        let git = Git::new(settings, selector, self.context.dropped.child_token());
        Ok(git::unsaved_work(git, first_commit.as_deref(), settings.limits.unsaved_work).await)
    }

    fn user_secrets(&self) -> &dyn UserSecrets {
        self
    }

    fn watch_ports(&self, hash: SessionHash, endpoint: &Endpoint) -> BoxStream<'static, SessionPorts> {
        let marker = self.context.folder.selector(hash).marker;
        self.context.port_finder.clone().watch(marker, endpoint.address.port())
    }

    async fn owns_port(&self, hash: SessionHash, port: u16) -> bool {
        let marker = self.context.folder.selector(hash).marker;
        tokio::task::spawn_blocking(move || port_finder::owns(&marker, port)).await.unwrap_or(false)
    }

    async fn shutdown(&self) {
        {
            // Cancelled under the lock: see `send`.
            let _inboxes = self.context.inboxes.lock();
            self.context.closing.cancel();
        }
        self.tasks.close();
        self.tasks.wait().await;
        self.context.publisher.end();
        self.context.folder.release();
    }
}

#[async_trait]
impl UserSecrets for LocalBackend {
    async fn names(&self, user: &Identity) -> Result<Vec<String>, SecretsError> {
        let (secrets, user) = (self.context.secrets.clone(), user.clone());
        let read = tokio::task::spawn_blocking(move || secrets.read(&user)).await;
        let read = read.map_err(|error| BackendError::Storage(error.to_string()))?;
        let secrets = read.map_err(|error| backend_error(&error))?;
        Ok(user_secrets::names(&secrets))
    }

    async fn change(&self, user: &Identity, change: SecretsChange) -> Result<Vec<String>, SecretsError> {
        let (secrets, user) = (self.context.secrets.clone(), user.clone());
        let changed = tokio::task::spawn_blocking(move || secrets.change(&user, &change)).await;
        let secrets = changed.map_err(|error| BackendError::Storage(error.to_string()))??;
        Ok(user_secrets::names(&secrets))
    }
}

impl Drop for LocalBackend {
    fn drop(&mut self) {
        self.context.dropped.cancel();
        self.context.publisher.end();
    }
}

/// Prepares a saved session for this router: it has no process any more.
fn adopt(folder: &StateFolder, mut saved: SavedSession, now: SystemTime) -> SavedSession {
    let before = saved.clone();
    saved.process = None;
    if saved.is_to_run() {
        saved.set_desired(PersistedState::Stopped { reason: StopReason::RouterCrashed }, now);
    }
    if saved != before
        && let Err(error) = folder.write(&saved)
    {
        tracing::error!(session.hash = %saved.session.hash, %error, "writing session.json failed");
    }
    saved
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LocalError> + Send + 'static,
) -> Result<T, LocalError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(LocalError::Setup(error.to_string())))
}

fn shutting_down() -> BackendError {
    BackendError::Unavailable("the router is shutting down".into())
}

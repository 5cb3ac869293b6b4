//! One session's task: compares the desired state with the current one, and takes the next step.
//!
//! The task alone writes the session's file and publishes its status. It accepts commands at any time, also
//! while a run begins or ends: it writes the desired state and answers. [`Actor::reconcile`] then takes the
//! next step, so that neither the state in which a command arrives nor the order of several matters.

use std::{io, sync::Arc};

use session_key::SessionHash;
use tokio::{sync::mpsc, task::JoinError};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    context::Context,
    error::backend_error,
    event::{Command, Event, Request, Task, next},
    failure::{router_error, storage_failure},
    files::remove_tree,
    proc_table::ProcessSelector,
    process_group,
    report::{Persist, Report, Reporter, RunEnd},
    run,
    run_context::RunContext,
    session_file::{Deletion, SavedSession},
    status,
};
use crate::{
    backend::BackendError,
    model::{Failure, Phase, SessionStatus, Stage, StopReason},
    persisted::PersistedState,
};

/// Capacity of a run's channel of reports.
const REPORTS: usize = 64;

/// The task of one session.
pub(super) struct Actor {
    context: Arc<Context>,
    hash: SessionHash,
    /// The content of the session's file; `None` before it is written and after it is removed.
    saved: Option<SavedSession>,
    /// The published status; `None` once watchers know that the session is gone.
    status: Option<SessionStatus>,
    task: Option<Task>,
    inbox: mpsc::UnboundedReceiver<Request>,
}

impl Actor {
    pub(super) fn new(
        context: Arc<Context>,
        hash: SessionHash,
        saved: Option<SavedSession>,
        inbox: mpsc::UnboundedReceiver<Request>,
    ) -> Self {
        let status = saved.as_ref().map(status::of);
        Self { context, hash, saved, status, task: None, inbox }
    }

    /// Runs until the session is gone, or the backend ends.
    pub(super) async fn run(mut self) {
        let closing = self.context.closing.clone();
        let dropped = self.context.dropped.clone();
        let mut is_closing = false;
        loop {
            self.reconcile().await;
            if self.task.is_none() {
                let gone = self.saved.is_none() && self.status.is_none();
                if gone && self.context.inboxes.retire(self.hash, &self.inbox) {
                    return;
                }
                if is_closing && self.inbox.is_empty() {
                    return;
                }
            }
            let event = tokio::select! {
                biased;
                // Dropping the task kills its processes.
                () = dropped.cancelled() => return,
                Some(request) = self.inbox.recv() => Event::Request(request),
                event = next(&mut self.task) => event,
                () = closing.cancelled(), if !is_closing => Event::Closing,
            };
            match event {
                Event::Request(Request { command, result }) => {
                    // The caller may be gone; the command counts all the same.
                    let _ = result.send(self.accept(command).await);
                }
                Event::Report(report) => self.on_report(report).await,
                Event::RunEnded(end) => self.on_run_end(end).await,
                Event::RemovalEnded => self.on_removed(),
                Event::Closing => is_closing = true,
            }
        }
    }

    /// Writes what a command asks for.
    async fn accept(&mut self, command: Command) -> Result<(), BackendError> {
        let Some(saved) = &self.saved else {
            return match command {
                Command::Start(session, git_author) => {
                    let new = SavedSession::new(session, self.context.clock.now());
                    self.save(SavedSession { git_author, ..new }).await
                }
                Command::Stop(_) | Command::Delete | Command::Touch(_) => Ok(()),
                Command::MarkFirstPromptSent | Command::ChangeAttachTokens(_) => Err(BackendError::NotFound),
            };
        };
        let mut changed = saved.clone();
        let (now, is_to_run) = (self.context.clock.now(), saved.is_to_run());
        match command {
            Command::Start(session, git_author) => {
                match &mut changed.deletion {
                    Some(deletion) => deletion.recreate_as = Some(session),
                    None if !is_to_run => changed.set_desired(PersistedState::Running { run: None }, now),
                    None => {}
                }
                changed.git_author = git_author.or(changed.git_author);
            }
            Command::Stop(reason) => match &mut changed.deletion {
                Some(deletion) => deletion.recreate_as = None,
                None if is_to_run => changed.set_desired(PersistedState::Stopped { reason }, now),
                None => {}
            },
            Command::Delete => changed.deletion = Some(Deletion::default()),
            Command::Touch(at) => changed.last_activity = changed.last_activity.max(at),
            Command::MarkFirstPromptSent => changed.first_prompt_sent = true,
            Command::ChangeAttachTokens(change) => {
                changed.attach_tokens = Arc::new(changed.attach_tokens.after(&change, now)?);
            }
        }
        if changed == *saved {
            return Ok(());
        }
        let published = changed.last_activity != saved.last_activity
            || changed.first_prompt_sent != saved.first_prompt_sent
            || changed.attach_tokens != saved.attach_tokens;
        self.save(changed).await?;
        if published && let (Some(saved), Some(status)) = (&self.saved, &mut self.status) {
            // A session that is being removed keeps its last status.
            if Arc::ptr_eq(&saved.session, &status.session) {
                (status.last_activity, status.first_prompt_sent) =
                    (saved.last_activity, saved.first_prompt_sent);
                status.attach_tokens = saved.attach_tokens.clone();
                self.context.publisher.publish(status);
            }
        }
        Ok(())
    }

    /// Takes the next step from the current to the desired state.
    async fn reconcile(&mut self) {
        match &self.task {
            Some(Task::Removal { .. }) => {}
            Some(Task::Run { cancel, .. }) => {
                let is_to_run =
                    self.saved.as_ref().is_some_and(|saved| saved.deletion.is_none() && saved.is_to_run());
                if (!is_to_run || self.context.closing.is_cancelled()) && !cancel.is_cancelled() {
                    cancel.cancel();
                    self.publish(Phase::Stopping);
                }
            }
            None => self.reconcile_idle().await,
        }
    }

    /// Takes the next step while no task is in progress.
    async fn reconcile_idle(&mut self) {
        let Some(saved) = &self.saved else { return };
        let closing = self.context.closing.is_cancelled();
        if saved.deletion.is_some() {
            // While the router ends, removals are left to the next one.
            if !closing {
                self.remove().await;
            }
            return;
        }
        match saved.desired.clone() {
            PersistedState::Running { .. } if closing => {
                let reason = StopReason::RouterStopped;
                let mut stopped = saved.clone();
                stopped.set_desired(PersistedState::Stopped { reason }, self.context.clock.now());
                self.save_or_log(stopped).await;
                self.publish(Phase::Stopped(reason));
            }
            PersistedState::Running { .. } => self.begin_run(),
            PersistedState::Stopped { reason } => self.publish(Phase::Stopped(reason)),
            PersistedState::Failed(failure) => self.publish(Phase::Failed(failure)),
        }
    }

    fn begin_run(&mut self) {
        let Some(saved) = &self.saved else { return };
        let (sender, reports) = mpsc::channel(REPORTS);
        let cancel = CancellationToken::new();
        let run = RunContext {
            shared: self.context.clone(),
            session: saved.session.clone(),
            git_author: saved.git_author.clone(),
            selector: self.context.folder.selector(self.hash),
            reporter: Reporter::new(sender),
            cancel: cancel.clone(),
        };
        let mut status = self.status.take().unwrap_or_else(|| status::of(saved));
        status::begin(&mut status, self.context.clock.now());
        self.context.publisher.publish(&status);
        self.status = Some(status);
        let handle = AbortOnDropHandle::new(tokio::spawn(run::run(run)));
        self.task = Some(Task::Run { handle, reports, cancel });
    }

    async fn on_report(&mut self, report: Report) {
        let cancelled = matches!(&self.task, Some(Task::Run { cancel, .. }) if cancel.is_cancelled());
        let report = match report {
            Report::Persist(fact, written) => {
                if let Some(mut saved) = self.saved.clone() {
                    match fact {
                        Persist::Process(process) => saved.process = process,
                        Persist::FirstCommit(commit) => saved.first_commit = Some(commit),
                    }
                    // A process that is not in the file is still found by its marker.
                    self.save_or_log(saved).await;
                }
                let _ = written.send(());
                return;
            }
            other => other,
        };
        let (false, Some(status)) = (cancelled, &mut self.status) else { return };
        let now = self.context.clock.now();
        match report {
            Report::Stage(stage) => status::enter(status, stage, now),
            Report::Progress(progress) => status::progress(status, &progress),
            Report::Message(message) => status::message(status, &message),
            Report::Ready(endpoint) => status::phase(status, Phase::Running(endpoint), now),
            Report::Restarting(message) => {
                status::phase(status, Phase::Starting, now);
                status::enter(status, Stage::Starting, now);
                status::message(status, &message);
            }
            Report::Persist(..) => {}
        }
        self.context.publisher.publish(status);
    }

    /// Records the end of a run, of which no process is left.
    async fn on_run_end(&mut self, end: Result<RunEnd, JoinError>) {
        let cancelled = matches!(self.task.take(), Some(Task::Run { cancel, .. }) if cancel.is_cancelled());
        let Some(mut saved) = self.saved.clone() else { return };
        let before = saved.clone();
        let end = match end {
            Ok(end) => end,
            Err(error) => {
                tracing::error!(session.hash = %self.hash, %error, "the task of a session panicked");
                let selector =
                    ProcessSelector { leader: saved.process, ..self.context.folder.selector(self.hash) };
                process_group::end_all(vec![selector], self.context.settings.limits.stop).await;
                RunEnd::Failed(router_error())
            }
        };
        saved.process = None;
        // A failure of a run that was cancelled does not matter.
        if let RunEnd::Failed(failure) = end
            && !cancelled
        {
            tracing::warn!(session.hash = %self.hash, code = failure.code.as_str(), "session failed");
            saved.set_desired(PersistedState::Failed(failure), self.context.clock.now());
        }
        if saved != before {
            self.save_or_log(saved).await;
        }
    }

    /// Moves the session's files away at once, and then removes them.
    async fn remove(&mut self) {
        let Some(SavedSession { deletion: Some(Deletion { recreate_as }), git_author, .. }) =
            self.saved.clone()
        else {
            return;
        };
        self.publish(Phase::Stopping);
        let (context, hash, keep_file) = (self.context.clone(), self.hash, recreate_as.is_some());
        let moved = tokio::task::spawn_blocking(move || context.folder.clear(hash, keep_file)).await;
        let trash = match moved.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(trash) => trash,
            Err(error) => {
                tracing::error!(session.hash = %self.hash, %error, "removing a session failed");
                self.give_up_removal(storage_failure("the session can't be removed", &error)).await;
                return;
            }
        };
        match recreate_as {
            None => self.saved = None,
            Some(session) => {
                let new = SavedSession::new(session, self.context.clock.now());
                self.save_or_log(SavedSession { git_author, ..new }).await;
            }
        }
        let handle = tokio::task::spawn_blocking(move || {
            if let Err(error) = remove_tree(&trash) {
                tracing::error!(
                    %error, path = %trash.display(),
                    "removing files of a deleted session failed; the next router tries again",
                );
            }
        });
        self.task = Some(Task::Removal { handle: AbortOnDropHandle::new(handle) });
    }

    /// Publishes that the session is gone. A session that was created meanwhile is a new one.
    fn on_removed(&mut self) {
        (self.task, self.status) = (None, None);
        self.context.publisher.remove(self.hash);
        tracing::info!(session.hash = %self.hash, "session removed");
    }

    /// A removal that failed is not tried again by itself.
    async fn give_up_removal(&mut self, failure: Failure) {
        if let Some(mut saved) = self.saved.clone() {
            saved.deletion = None;
            saved.set_desired(PersistedState::Failed(failure), self.context.clock.now());
            self.save_or_log(saved).await;
        }
    }

    /// Publishes a phase, unless it is published already.
    fn publish(&mut self, phase: Phase) {
        let status = match (&mut self.status, &self.saved) {
            (Some(status), _) if status.phase == phase => return,
            (Some(status), _) => status,
            (status, Some(saved)) => status.insert(status::of(saved)),
            (None, None) => return,
        };
        status::phase(status, phase, self.context.clock.now());
        self.context.publisher.publish(status);
    }

    async fn save(&mut self, saved: SavedSession) -> Result<(), BackendError> {
        let context = self.context.clone();
        let written = tokio::task::spawn_blocking(move || context.folder.write(&saved).map(|()| saved)).await;
        match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(saved) => {
                self.saved = Some(saved);
                Ok(())
            }
            Err(error) => Err(backend_error(&error)),
        }
    }

    /// For changes that no caller waits for: continues with a state that could not be written.
    async fn save_or_log(&mut self, saved: SavedSession) {
        if let Err(error) = self.save(saved.clone()).await {
            tracing::error!(session.hash = %self.hash, %error, "writing session.json failed");
            self.saved = Some(saved);
        }
    }
}

//! What a session's task waits for.

use std::{sync::Arc, time::SystemTime};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinError,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::report::{Report, RunEnd};
use crate::{
    attach::AttachChange,
    backend::BackendError,
    model::{GitAuthor, Session, StopReason},
};

/// A command, and where its result goes.
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) result: oneshot::Sender<Result<(), BackendError>>,
}

/// What can be asked of a session.
pub(super) enum Command {
    Start(Arc<Session>, Option<GitAuthor>),
    Stop(StopReason),
    Delete,
    Touch(SystemTime),
    MarkFirstPromptSent,
    ChangeAttachTokens(AttachChange),
}

/// The work in progress; a session has one task at a time.
pub(super) enum Task {
    Run { handle: AbortOnDropHandle<RunEnd>, reports: mpsc::Receiver<Report>, cancel: CancellationToken },
    Removal { handle: AbortOnDropHandle<()> },
}

/// What a session's actor reacts to.
pub(super) enum Event {
    Request(Request),
    Report(Report),
    RunEnded(Result<RunEnd, JoinError>),
    RemovalEnded,
    Closing,
}

/// Waits for the next event of the task; without a task, forever.
pub(super) async fn next(task: &mut Option<Task>) -> Event {
    match task {
        None => std::future::pending().await,
        Some(Task::Removal { handle }) => {
            let _ = handle.await;
            Event::RemovalEnded
        }
        Some(Task::Run { handle, reports, .. }) => tokio::select! {
            biased;
            Some(report) = reports.recv() => Event::Report(report),
            end = handle => Event::RunEnded(end),
        },
    }
}

//! What a session's task wakes up for.

use std::{sync::Arc, time::SystemTime};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinError,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::run::{Interrupted, Report};
use crate::{
    backend::BackendError,
    model::{Session, StopReason},
};

/// What is asked of a session.
pub(super) struct Command {
    pub(super) what: What,
    pub(super) answer: oneshot::Sender<Result<(), BackendError>>,
}

/// The verbs that change something.
pub(super) enum What {
    Start(Arc<Session>),
    Stop(StopReason),
    Delete,
    Touch(SystemTime),
    Greeted,
}

/// What is under way.
pub(super) enum Work {
    Run { task: AbortOnDropHandle<Interrupted>, reports: mpsc::Receiver<Report>, calloff: CancellationToken },
    Removal { task: AbortOnDropHandle<()> },
}

/// What a session's task wakes up for.
pub(super) enum News {
    Command(Command),
    Report(Report),
    RunOver(Result<Interrupted, JoinError>),
    RemovalOver,
    Closing,
}

/// What happens next in what is under way; nothing where nothing is.
pub(super) async fn next(work: &mut Option<Work>) -> News {
    match work {
        None => std::future::pending().await,
        Some(Work::Removal { task }) => {
            let _ = task.await;
            News::RemovalOver
        }
        Some(Work::Run { task, reports, .. }) => tokio::select! {
            biased;
            Some(report) = reports.recv() => News::Report(report),
            over = task => News::RunOver(over),
        },
    }
}

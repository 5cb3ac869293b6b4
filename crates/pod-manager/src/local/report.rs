//! What a run reports to the session's task, and how it ends.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use super::proc_table::ProcessId;
use crate::{
    git_output::Progress,
    model::{Endpoint, Failure, Stage},
};

/// The shortest time between two reports of progress; git prints it many times a second.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Why a run ended.
#[derive(Debug)]
pub(super) enum RunEnd {
    /// It was cancelled.
    Cancelled,
    /// It can't continue.
    Failed(Failure),
}

/// What a run reports.
pub(super) enum Report {
    /// A stage has begun, and those before it have ended.
    Stage(Stage),
    /// Progress of the current stage.
    Progress(Progress),
    /// A message about the current stage.
    Message(Arc<str>),
    /// To be written to the session's file; the run waits until it is.
    Persist(Persist, oneshot::Sender<()>),
    /// opencode is healthy.
    Ready(Endpoint),
    /// opencode ended, and is started again.
    Restarting(Arc<str>),
}

/// What of a run outlasts the router.
pub(super) enum Persist {
    Process(Option<ProcessId>),
    FirstCommit(String),
}

/// Sends a run's reports.
#[derive(Clone)]
pub(super) struct Reporter {
    reports: mpsc::Sender<Report>,
    throttle: Arc<Mutex<Throttle>>,
}

/// Progress of a stage that is still to be reported.
#[derive(Default)]
struct Throttle {
    /// The newest progress, which came too soon after the last report.
    pending: Option<Progress>,
    /// A task waits to report it.
    waiting: bool,
    /// The message that was reported last; a new one is reported at once.
    last_message: Option<Arc<str>>,
}

impl Reporter {
    pub(super) fn new(reports: mpsc::Sender<Report>) -> Self {
        Self { reports, throttle: Arc::default() }
    }

    /// Reports progress, at most once per interval. The newest one is always reported in the end, so that a
    /// clone that stalls shows how far it came.
    pub(super) fn progress(&self, progress: Progress) {
        let mut throttle = self.throttle.lock();
        let same_message = throttle.last_message.as_ref() == Some(&progress.message);
        if throttle.waiting && same_message {
            throttle.pending = Some(progress);
            return;
        }
        throttle.pending = None;
        throttle.last_message = Some(progress.message.clone());
        let _ = self.reports.try_send(Report::Progress(progress));
        if !std::mem::replace(&mut throttle.waiting, true) {
            let reporter = self.clone();
            tokio::spawn(async move { while reporter.report_pending().await {} });
        }
    }

    /// Waits for the interval, and reports the newest progress. Returns whether there was any.
    async fn report_pending(&self) -> bool {
        sleep(PROGRESS_INTERVAL).await;
        let mut throttle = self.throttle.lock();
        match throttle.pending.take() {
            Some(progress) => {
                let _ = self.reports.try_send(Report::Progress(progress));
                true
            }
            None => {
                throttle.waiting = false;
                false
            }
        }
    }

    pub(super) fn message(&self, message: &str) {
        let _ = self.reports.try_send(Report::Message(message.into()));
    }

    pub(super) async fn report(&self, report: Report) {
        if matches!(report, Report::Stage(_)) {
            // Pending progress belongs to the stage before.
            self.throttle.lock().pending = None;
        }
        let _ = self.reports.send(report).await;
    }

    /// Has a fact written to the session's file, and waits until it is.
    pub(super) async fn persist(&self, fact: Persist) {
        let (sender, written) = oneshot::channel();
        self.report(Report::Persist(fact, sender)).await;
        let _ = written.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(percent: u8) -> Progress {
        Progress { message: "Receiving".into(), percent: Some(percent), bytes: None }
    }

    async fn next_percent(reports: &mut mpsc::Receiver<Report>) -> Option<u8> {
        match reports.recv().await {
            Some(Report::Progress(progress)) => progress.percent,
            _ => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_progress_is_reported_after_the_interval() {
        let (sender, mut reports) = mpsc::channel(8);
        let reporter = Reporter::new(sender);
        for percent in [0, 20, 43] {
            reporter.progress(progress(percent));
        }
        assert_eq!(next_percent(&mut reports).await, Some(0));
        assert_eq!(next_percent(&mut reports).await, Some(43));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_message_is_reported_at_once() {
        let (sender, mut reports) = mpsc::channel(8);
        let reporter = Reporter::new(sender);
        reporter.progress(progress(0));
        reporter.progress(progress(10));
        reporter.progress(Progress { message: "Resolving".into(), ..progress(20) });
        reporter.report(Report::Stage(Stage::Starting)).await;
        assert_eq!(next_percent(&mut reports).await, Some(0));
        assert_eq!(next_percent(&mut reports).await, Some(20));
    }

    #[tokio::test(start_paused = true)]
    async fn progress_of_an_ended_stage_is_not_reported() {
        let (sender, mut reports) = mpsc::channel(8);
        let reporter = Reporter::new(sender);
        reporter.progress(progress(0));
        reporter.progress(progress(99));
        reporter.report(Report::Stage(Stage::Starting)).await;
        drop(reporter);
        assert_eq!(next_percent(&mut reports).await, Some(0));
        assert!(matches!(reports.recv().await, Some(Report::Stage(Stage::Starting))));
        assert!(reports.recv().await.is_none());
    }
}

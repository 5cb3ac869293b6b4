//! One run of a session: from its folder's preparation to the end of its process.

use std::{path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    git::{self, Git, storage_failure},
    log::{self, Log},
    opencode,
    store::make_dir,
    table::{Mark, Traits},
};
use crate::{
    git_output::Progress,
    model::{Endpoint, Failure, Session, Stage},
};

/// Progress is told no more often than this; a repository's is said many times a second.
const TELL_EVERY: std::time::Duration = std::time::Duration::from_millis(100);
/// How much of the log a failure holds.
const TAIL_LINES: usize = 30;

/// Why a run did not go on.
#[derive(Debug)]
pub(super) enum Interrupted {
    /// It was to end, and has ended.
    CalledOff,
    /// It can't go on.
    Failed(Failure),
}

/// What a run tells while it goes on.
pub(super) enum Report {
    /// This stage has begun, and those before it are over.
    Stage(Stage),
    /// How far the present stage is.
    Progress(Progress),
    /// A word on the present stage.
    Message(Arc<str>),
    /// To be written down; the run waits until it is.
    Keep(Keep, oneshot::Sender<()>),
    /// opencode answers there.
    Ready(Endpoint),
    /// opencode ended, and is started again.
    Again(Arc<str>),
}

/// What of a run is to outlast the router.
pub(super) enum Keep {
    Process(Option<Mark>),
    FirstCommit(String),
}

/// Where a run tells how it goes on.
#[derive(Clone)]
pub(super) struct Tell {
    reports: mpsc::Sender<Report>,
    progress: Arc<Mutex<Pending>>,
}

/// What of a stage's progress is still to be told.
#[derive(Default)]
struct Pending {
    /// The newest step that was not told, since another one had been just before.
    untold: Option<Progress>,
    /// Somebody waits to tell it.
    waiting: bool,
    /// The words that were told last; new ones are told at once.
    words: Option<Arc<str>>,
}

impl Tell {
    pub(super) fn new(reports: mpsc::Sender<Report>) -> Self {
        Self { reports, progress: Arc::default() }
    }

    /// Tells how far the stage is: at once, or with the next step where that was told just now. The newest step is
    /// always told in the end, so that a clone that stalls shows how far it came.
    pub(super) fn progress(&self, step: Progress) {
        let mut progress = self.progress.lock();
        let known = progress.words.as_ref() == Some(&step.message);
        if progress.waiting && known {
            progress.untold = Some(step);
            return;
        }
        progress.untold = None;
        progress.words = Some(step.message.clone());
        let _ = self.reports.try_send(Report::Progress(step));
        if !std::mem::replace(&mut progress.waiting, true) {
            let tell = self.clone();
            tokio::spawn(async move { while tell.next_step().await {} });
        }
    }

    /// Waits its time and tells the newest step; whether there was one.
    async fn next_step(&self) -> bool {
        tokio::time::sleep(TELL_EVERY).await;
        let mut progress = self.progress.lock();
        match progress.untold.take() {
            Some(step) => {
                let _ = self.reports.try_send(Report::Progress(step));
                true
            }
            None => {
                progress.waiting = false;
                false
            }
        }
    }

    pub(super) fn message(&self, message: &str) {
        let _ = self.reports.try_send(Report::Message(message.into()));
    }

    pub(super) async fn report(&self, report: Report) {
        if matches!(report, Report::Stage(_)) {
            // What was not told belongs to the stage before.
            self.progress.lock().untold = None;
        }
        let _ = self.reports.send(report).await;
    }

    /// Has something written down, and waits until it is.
    pub(super) async fn keep(&self, what: Keep) {
        let (done, written) = oneshot::channel();
        self.report(Report::Keep(what, done)).await;
        let _ = written.await;
    }
}

/// What one run works with.
pub(super) struct Run {
    pub(super) shared: Arc<Shared>,
    pub(super) session: Arc<Session>,
    pub(super) traits: Traits,
    pub(super) tell: Tell,
    pub(super) calloff: CancellationToken,
}

impl Run {
    /// Goes on until it is called off or fails; either way no process of it is left then.
    pub(super) async fn go(self) -> Interrupted {
        let interrupted = match self.make_folders().await {
            Ok(log) => self.work(log).await,
            Err(error) => Interrupted::Failed(storage_failure("the session's folders can't be made", &error)),
        };
        match interrupted {
            Interrupted::Failed(mut failure) => {
                if failure.log_tail.is_none() {
                    failure.log_tail = self.log_tail().await;
                }
                Interrupted::Failed(failure)
            }
            called_off => called_off,
        }
    }

    async fn work(&self, log: Log) -> Interrupted {
        self.tell.report(Report::Stage(Stage::Cloning)).await;
        let git = Git::new(&self.shared.settings, self.traits.clone(), self.calloff.clone())
            .telling(log.clone(), self.tell.clone());
        match git::prepare(git, &self.session, &self.shared.settings.limits).await {
            Ok(prepared) => {
                if let Some(commit) = prepared.first_commit {
                    self.tell.keep(Keep::FirstCommit(commit)).await;
                }
            }
            Err(interrupted) => return interrupted,
        }
        self.tell.report(Report::Stage(Stage::Starting)).await;
        opencode::keep_running(self, &log).await
    }

    async fn make_folders(&self) -> std::io::Result<Log> {
        let (dir, own_machine) = (self.traits.dir.clone(), self.shared.settings.own_machine);
        let max = self.shared.settings.limits.log_bytes;
        let made = tokio::task::spawn_blocking(move || {
            let names: &[&str] = match own_machine {
                true => &["data/opencode", "state", "cache"],
                false => &["data/opencode", "state", "cache", "home"],
            };
            names.iter().try_for_each(|name| make_dir(&dir.join(name)))?;
            Log::open(&dir, max)
        });
        made.await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
    }

    pub(super) fn repo(&self) -> PathBuf {
        self.traits.dir.join("repo")
    }

    /// The last lines of the log, for a failure.
    pub(super) async fn log_tail(&self) -> Option<String> {
        let dir = self.traits.dir.clone();
        let tail = tokio::task::spawn_blocking(move || log::tail(&dir, TAIL_LINES)).await.ok()?.ok()?;
        (!tail.trim().is_empty()).then_some(tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(percent: u8) -> Progress {
        Progress { message: "Receiving".into(), percent: Some(percent), bytes: None }
    }

    async fn told(reports: &mut mpsc::Receiver<Report>) -> Option<u8> {
        match reports.recv().await {
            Some(Report::Progress(step)) => step.percent,
            _ => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_step_is_told_though_another_one_was_told_just_before() {
        let (send, mut reports) = mpsc::channel(8);
        let tell = Tell::new(send);
        for percent in [0, 20, 43] {
            tell.progress(step(percent));
        }
        assert_eq!(told(&mut reports).await, Some(0));
        assert_eq!(told(&mut reports).await, Some(43));
    }

    #[tokio::test(start_paused = true)]
    async fn new_words_are_told_at_once() {
        let (send, mut reports) = mpsc::channel(8);
        let tell = Tell::new(send);
        tell.progress(step(0));
        tell.progress(step(10));
        tell.progress(Progress { message: "Resolving".into(), ..step(20) });
        tell.report(Report::Stage(Stage::Starting)).await;
        assert_eq!(told(&mut reports).await, Some(0));
        assert_eq!(told(&mut reports).await, Some(20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_of_a_stage_that_is_over_is_not_told() {
        let (send, mut reports) = mpsc::channel(8);
        let tell = Tell::new(send);
        tell.progress(step(0));
        tell.progress(step(99));
        tell.report(Report::Stage(Stage::Starting)).await;
        drop(tell);
        assert_eq!(told(&mut reports).await, Some(0));
        assert!(matches!(reports.recv().await, Some(Report::Stage(Stage::Starting))));
        assert!(reports.recv().await.is_none());
    }
}

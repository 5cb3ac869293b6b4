//! One session: what was asked for, what is there, and the way from one to the other.
//!
//! Each session has one task, which alone writes its record and tells of it. It takes what is asked for at
//! any time, also while a run begins or ends, writes it down and answers; [`Actor::settle`] then compares
//! what is asked for with what is there, and does the next step. So it does not matter in which state a
//! request comes, nor in which order several come.

use std::sync::Arc;

use session_key::SessionHash;
use tokio::{sync::mpsc, task::JoinError};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Shared,
    git::storage_failure,
    group,
    news::{Command, News, What, Work, next},
    observe,
    record::{Deletion, Kept, Record},
    run::{Interrupted, Keep, Report, Run, Tell},
    store::remove_tree,
    table::Traits,
};
use crate::{
    backend::BackendError,
    model::{Failure, FailureCode, Phase, SessionStatus, Stage, StopReason},
};

/// Reports of a run that may wait to be read.
const REPORTS: usize = 64;

/// The task of one session.
pub(super) struct Actor {
    shared: Arc<Shared>,
    hash: SessionHash,
    /// What is written down; `None` before it was made and after it was removed.
    record: Option<Record>,
    /// What watchers are told; there until they were told that it is gone.
    seen: Option<SessionStatus>,
    work: Option<Work>,
    inbox: mpsc::UnboundedReceiver<Command>,
}

impl Actor {
    pub(super) fn new(
        shared: Arc<Shared>,
        hash: SessionHash,
        record: Option<Record>,
        inbox: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        let seen = record.as_ref().map(observe::of);
        Self { shared, hash, record, seen, work: None, inbox }
    }

    /// Goes on until the session is gone, or the backend ends.
    pub(super) async fn go(mut self) {
        let closing = self.shared.closing.clone();
        let dropped = self.shared.dropped.clone();
        let mut told_closing = false;
        loop {
            self.settle().await;
            if self.work.is_none() {
                let gone = self.record.is_none() && self.seen.is_none();
                if gone && self.shared.retire(self.hash, &self.inbox) {
                    return;
                }
                if told_closing && self.inbox.is_empty() {
                    return;
                }
            }
            let news = tokio::select! {
                biased;
                // Dropping the work ends its processes by force.
                () = dropped.cancelled() => return,
                Some(command) = self.inbox.recv() => News::Command(command),
                news = next(&mut self.work) => news,
                () = closing.cancelled(), if !told_closing => News::Closing,
            };
            match news {
                News::Command(Command { what, answer }) => {
                    let done = self.obey(what).await;
                    // Who asked may have gone away; it is written down all the same.
                    let _ = answer.send(done);
                }
                News::Report(report) => self.note(report).await,
                News::RunOver(how) => self.run_over(how).await,
                News::RemovalOver => self.removed(),
                News::Closing => told_closing = true,
            }
        }
    }

    /// Writes down what is asked for.
    async fn obey(&mut self, what: What) -> Result<(), BackendError> {
        let Some(record) = &self.record else {
            return match what {
                What::Start(session) => self.write(Record::new(session, self.shared.clock.now())).await,
                What::Stop(_) | What::Delete | What::Touch(_) => Ok(()),
                What::Greeted => Err(BackendError::NotFound),
            };
        };
        let mut changed = record.clone();
        let now = self.shared.clock.now();
        match what {
            What::Start(session) => match &mut changed.deletion {
                Some(deletion) => deletion.anew = Some(session),
                None if changed.kept != Kept::Running => {
                    (changed.kept, changed.since) = (Kept::Running, now);
                }
                None => {}
            },
            What::Stop(why) => match &mut changed.deletion {
                Some(deletion) => deletion.anew = None,
                None if changed.kept == Kept::Running => {
                    (changed.kept, changed.since) = (Kept::Stopped(why), now);
                }
                None => {}
            },
            What::Delete => changed.deletion = Some(Deletion::default()),
            What::Touch(at) => changed.last_activity = changed.last_activity.max(at),
            What::Greeted => changed.first_prompt_sent = true,
        }
        if changed == *record {
            return Ok(());
        }
        let told = changed.last_activity != record.last_activity
            || changed.first_prompt_sent != record.first_prompt_sent;
        self.write(changed).await?;
        if told && let (Some(record), Some(seen)) = (&self.record, &mut self.seen) {
            // What is on its way out is told as it was.
            if Arc::ptr_eq(&record.session, &seen.session) {
                (seen.last_activity, seen.first_prompt_sent) =
                    (record.last_activity, record.first_prompt_sent);
                self.shared.publisher.publish(seen);
            }
        }
        Ok(())
    }

    /// Does the next step from what is there to what is asked for.
    async fn settle(&mut self) {
        match &self.work {
            Some(Work::Removal { .. }) => {}
            Some(Work::Run { calloff, .. }) => {
                let wanted = self
                    .record
                    .as_ref()
                    .is_some_and(|record| record.deletion.is_none() && record.kept == Kept::Running);
                if (!wanted || self.shared.closing.is_cancelled()) && !calloff.is_cancelled() {
                    calloff.cancel();
                    self.show(Phase::Stopping);
                }
            }
            None => self.settle_idle().await,
        }
    }

    /// The same, where nothing is under way.
    async fn settle_idle(&mut self) {
        let Some(record) = &self.record else { return };
        let closing = self.shared.closing.is_cancelled();
        if record.deletion.is_some() {
            // What the router does not get done any more is done at its next start.
            if !closing {
                self.remove().await;
            }
            return;
        }
        match record.kept.clone() {
            Kept::Running if closing => {
                let mut stopped = record.clone();
                (stopped.kept, stopped.since) =
                    (Kept::Stopped(StopReason::RouterStopped), self.shared.clock.now());
                self.write_or_log(stopped).await;
                self.show(Phase::Stopped(StopReason::RouterStopped));
            }
            Kept::Running => self.begin(),
            Kept::Stopped(why) => self.show(Phase::Stopped(why)),
            Kept::Failed(failure) => self.show(Phase::Failed(failure)),
        }
    }

    fn begin(&mut self) {
        let Some(record) = &self.record else { return };
        let (reports, read) = mpsc::channel(REPORTS);
        let calloff = CancellationToken::new();
        let run = Run {
            shared: self.shared.clone(),
            session: record.session.clone(),
            traits: self.shared.store.traits(self.hash),
            tell: Tell::new(reports),
            calloff: calloff.clone(),
        };
        let mut seen = self.seen.take().unwrap_or_else(|| observe::of(record));
        observe::begin(&mut seen, self.shared.clock.now());
        self.shared.publisher.publish(&seen);
        self.seen = Some(seen);
        let task = AbortOnDropHandle::new(tokio::spawn(run.go()));
        self.work = Some(Work::Run { task, reports: read, calloff });
    }

    /// Takes in what the run tells.
    async fn note(&mut self, report: Report) {
        let called_off = matches!(&self.work, Some(Work::Run { calloff, .. }) if calloff.is_cancelled());
        let report = match report {
            Report::Keep(what, done) => {
                if let Some(mut record) = self.record.clone() {
                    match what {
                        Keep::Process(mark) => record.process = mark,
                        Keep::FirstCommit(commit) => record.first_commit = Some(commit),
                    }
                    // A process that is not written down is found by its marker.
                    self.write_or_log(record).await;
                }
                let _ = done.send(());
                return;
            }
            other => other,
        };
        let (false, Some(seen)) = (called_off, &mut self.seen) else { return };
        let now = self.shared.clock.now();
        match report {
            Report::Stage(stage) => observe::enter(seen, stage, now),
            Report::Progress(step) => observe::step(seen, &step),
            Report::Message(message) => observe::message(seen, &message),
            Report::Ready(endpoint) => observe::ready(seen, endpoint, now),
            Report::Again(message) => {
                observe::phase(seen, Phase::Starting, now);
                observe::enter(seen, Stage::Starting, now);
                observe::message(seen, &message);
            }
            Report::Keep(..) => {}
        }
        self.shared.publisher.publish(seen);
    }

    /// The run is over, and no process of it is left.
    async fn run_over(&mut self, how: Result<Interrupted, JoinError>) {
        let called_off =
            matches!(self.work.take(), Some(Work::Run { calloff, .. }) if calloff.is_cancelled());
        let Some(mut record) = self.record.clone() else { return };
        let before = record.clone();
        let how = match how {
            Ok(how) => how,
            Err(error) => {
                tracing::error!(session.hash = %self.hash, %error, "a session's task broke");
                let left = Traits { leader: record.process, ..self.shared.store.traits(self.hash) };
                group::end_all(vec![left], self.shared.settings.limits.stop).await;
                Interrupted::Failed(broken())
            }
        };
        record.process = None;
        match how {
            // It was to end: that it broke on the way is nobody's concern any more.
            _ if called_off => {}
            Interrupted::CalledOff => {}
            Interrupted::Failed(failure) => {
                tracing::warn!(
                    session.hash = %self.hash, code = failure.code.as_str(), "a session has failed",
                );
                (record.kept, record.since) = (Kept::Failed(failure), self.shared.clock.now());
            }
        }
        if record != before {
            self.write_or_log(record).await;
        }
    }

    /// Moves what is stored out of the way at once, and then removes it.
    async fn remove(&mut self) {
        let Some(Record { deletion: Some(Deletion { anew }), .. }) = self.record.clone() else { return };
        self.show(Phase::Stopping);
        let (shared, hash, keep_record) = (self.shared.clone(), self.hash, anew.is_some());
        let cleared = tokio::task::spawn_blocking(move || shared.store.clear(hash, keep_record)).await;
        let trash = match cleared.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(trash) => trash,
            Err(error) => {
                tracing::error!(session.hash = %self.hash, %error, "a session can't be removed");
                self.give_up(storage_failure("it can't be removed", &error)).await;
                return;
            }
        };
        match anew {
            None => self.record = None,
            Some(session) => {
                self.write_or_log(Record::new(session, self.shared.clock.now())).await;
            }
        }
        let task = tokio::task::spawn_blocking(move || {
            if let Err(error) = remove_tree(&trash) {
                tracing::error!(
                    %error, path = %trash.display(),
                    "not all of a removed session's files can be removed: tried again at the next start",
                );
            }
        });
        self.work = Some(Work::Removal { task: AbortOnDropHandle::new(task) });
    }

    /// What was stored is gone; a session that was asked for meanwhile is another one.
    fn removed(&mut self) {
        (self.work, self.seen) = (None, None);
        self.shared.publisher.remove(self.hash);
        tracing::info!(session.hash = %self.hash, "a session was removed");
    }

    /// A removal that did not succeed is not tried again by itself.
    async fn give_up(&mut self, failure: Failure) {
        if let Some(mut record) = self.record.clone() {
            (record.deletion, record.kept) = (None, Kept::Failed(failure));
            record.since = self.shared.clock.now();
            self.write_or_log(record).await;
        }
    }

    /// Tells a phase, unless that is what was told last.
    fn show(&mut self, phase: Phase) {
        let seen = match (&mut self.seen, &self.record) {
            (Some(seen), _) if seen.phase == phase => return,
            (Some(seen), _) => seen,
            (seen, Some(record)) => seen.insert(observe::of(record)),
            (None, None) => return,
        };
        observe::phase(seen, phase, self.shared.clock.now());
        self.shared.publisher.publish(seen);
    }

    async fn write(&mut self, record: Record) -> Result<(), BackendError> {
        let shared = self.shared.clone();
        let written = tokio::task::spawn_blocking(move || shared.store.write(&record).map(|()| record)).await;
        match written.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(record) => {
                self.record = Some(record);
                Ok(())
            }
            Err(error) => Err(refusal(&error)),
        }
    }

    /// Where nobody waits for an answer: goes on with what could not be written.
    async fn write_or_log(&mut self, record: Record) {
        if let Err(error) = self.write(record.clone()).await {
            tracing::error!(session.hash = %self.hash, %error, "a session's record can't be written");
            self.record = Some(record);
        }
    }
}

fn broken() -> Failure {
    Failure {
        code: FailureCode::BackendError,
        message: "The router made a mistake while it worked on the session.".to_owned(),
        advice: "Start the session again, and report this with the router's log.".to_owned(),
        log_tail: None,
    }
}

fn refusal(error: &std::io::Error) -> BackendError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            BackendError::DiskFull(error.to_string())
        }
        _ => BackendError::Storage(error.to_string()),
    }
}

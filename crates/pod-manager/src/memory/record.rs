use std::{sync::Arc, time::SystemTime};

use tokio_util::sync::CancellationToken;

use super::STAGES;
use crate::{
    backend::UnsavedWork,
    model::{Endpoint, Failure, Phase, Session, SessionStatus, Stage, StageRecord, StopReason},
};

/// One session, as the backend holds it.
#[derive(Clone)]
pub(super) struct Record {
    pub(super) observed: Arc<SessionStatus>,
    /// Asked for while it was stopping: to be started again once it has stopped (or is gone).
    pub(super) again: Option<Arc<Session>>,
    /// It is to be gone once it has stopped.
    pub(super) deleting: bool,
    /// Processes that exist for it; more than one would be a fault.
    pub(super) processes: usize,
    pub(super) log: String,
    pub(super) unsaved: Option<UnsavedWork>,
    /// Calls the present start off.
    token: CancellationToken,
    why: StopReason,
}

impl Record {
    pub(super) fn new(session: Arc<Session>, now: SystemTime) -> Self {
        let observed = SessionStatus {
            session,
            phase: Phase::Stopped(StopReason::NeverStarted),
            since: now,
            stages: Vec::new(),
            last_activity: now,
            first_prompt_sent: false,
        };
        Self {
            observed: Arc::new(observed),
            again: None,
            deleting: false,
            processes: 0,
            log: String::new(),
            unsaved: Some(UnsavedWork { uncommitted_files: 0, unpushed_commits: 0 }),
            token: CancellationToken::new(),
            why: StopReason::NeverStarted,
        }
    }

    pub(super) fn begin(&mut self, now: SystemTime) -> CancellationToken {
        self.token = CancellationToken::new();
        self.deleting = false;
        let to_come = |stage| StageRecord {
            stage,
            started: None,
            ended: None,
            message: None,
            percent: None,
            bytes: None,
        };
        Arc::make_mut(&mut self.observed).stages = STAGES.map(to_come).to_vec();
        self.set(Phase::Starting, now);
        self.token.clone()
    }

    pub(super) fn enter_stage(&mut self, stage: Stage, now: SystemTime) {
        self.end_stage(now);
        if let Some(record) =
            Arc::make_mut(&mut self.observed).stages.iter_mut().find(|record| record.stage == stage)
        {
            record.started = Some(now);
        }
        if stage == Stage::Starting {
            self.processes += 1;
        }
        self.log.push_str(&format!("{stage:?}\n"));
    }

    pub(super) fn run(&mut self, endpoint: Endpoint, now: SystemTime) {
        self.end_stage(now);
        self.log.push_str(&format!("running as {}\n", endpoint.run_id));
        self.set(Phase::Running(endpoint), now);
    }

    pub(super) fn fail(&mut self, failure: Failure, now: SystemTime) {
        self.end_stage(now);
        self.token.cancel();
        self.processes = 0;
        self.log.push_str(&format!("failed: {}\n", failure.message));
        self.set(Phase::Failed(failure), now);
    }

    pub(super) fn begin_end(&mut self, why: StopReason, deleting: bool, now: SystemTime) {
        self.end_stage(now);
        self.token.cancel();
        (self.why, self.deleting, self.again) = (why, deleting, None);
        self.set(Phase::Stopping, now);
    }

    pub(super) fn stopped(&mut self, now: SystemTime) {
        self.set(Phase::Stopped(self.why), now);
    }

    /// As the next router finds it where processes ended with the last one.
    pub(super) fn forget_process(&mut self, why: StopReason, now: SystemTime) {
        self.token.cancel();
        self.processes = 0;
        if !matches!(self.observed.phase, Phase::Stopped(_) | Phase::Failed(_)) {
            self.end_stage(now);
            self.set(Phase::Stopped(why), now);
        }
    }

    /// Gives it a token of its own, after it was copied into another backend.
    pub(super) fn adopt(&mut self) {
        self.token = CancellationToken::new();
    }

    fn end_stage(&mut self, now: SystemTime) {
        for record in &mut Arc::make_mut(&mut self.observed).stages {
            if record.started.is_some() && record.ended.is_none() {
                record.ended = Some(now);
            }
        }
    }

    fn set(&mut self, phase: Phase, now: SystemTime) {
        let observed = Arc::make_mut(&mut self.observed);
        (observed.phase, observed.since) = (phase, now);
    }
}

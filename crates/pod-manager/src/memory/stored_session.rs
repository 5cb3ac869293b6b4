//! One session as the backend holds it, and its transitions.

use std::{sync::Arc, time::SystemTime};

use tokio_util::sync::CancellationToken;

use crate::{
    backend::UnsavedWork,
    model::{Endpoint, Failure, Phase, Session, SessionStatus, Stage, StageRecord, StopReason},
};

/// The stages of a start.
pub(super) const STAGES: [Stage; 2] = [Stage::Cloning, Stage::Starting];

/// A session, with what a real backend keeps outside of the router.
#[derive(Clone)]
pub(super) struct StoredSession {
    pub(super) status: SessionStatus,
    /// Asked for while the session was stopping: it is started, or created again, once it has stopped.
    pub(super) recreate_as: Option<Arc<Session>>,
    /// The session is removed once it has stopped.
    pub(super) deleting: bool,
    /// Processes of the session; more than one would be an error.
    pub(super) processes: usize,
    pub(super) log: String,
    pub(super) unsaved: Option<UnsavedWork>,
    /// Cancels the present start.
    token: CancellationToken,
    /// Why the session stops.
    reason: StopReason,
}

impl StoredSession {
    pub(super) fn new(session: Arc<Session>, now: SystemTime) -> Self {
        let status = SessionStatus {
            session,
            phase: Phase::Stopped(StopReason::NeverStarted),
            since: now,
            stages: Vec::new(),
            last_activity: now,
            first_prompt_sent: false,
            attach_tokens: Arc::default(),
        };
        Self {
            status,
            recreate_as: None,
            deleting: false,
            processes: 0,
            log: String::new(),
            unsaved: Some(UnsavedWork { uncommitted_files: 0, unpushed_commits: 0 }),
            token: CancellationToken::new(),
            reason: StopReason::NeverStarted,
        }
    }

    /// Begins a start, and returns the token that cancels it.
    pub(super) fn start(&mut self, now: SystemTime) -> CancellationToken {
        self.token = CancellationToken::new();
        self.deleting = false;
        let pending = |stage| StageRecord {
            stage,
            started: None,
            ended: None,
            message: None,
            percent: None,
            bytes: None,
        };
        self.status.stages = STAGES.map(pending).to_vec();
        self.set_phase(Phase::Starting, now);
        self.token.clone()
    }

    pub(super) fn enter_stage(&mut self, stage: Stage, now: SystemTime) {
        self.end_stage(now);
        if let Some(record) = self.status.stages.iter_mut().find(|record| record.stage == stage) {
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
        self.set_phase(Phase::Running(endpoint), now);
    }

    pub(super) fn fail(&mut self, failure: Failure, now: SystemTime) {
        self.end_stage(now);
        self.token.cancel();
        self.processes = 0;
        self.log.push_str(&format!("failed: {}\n", failure.message));
        self.set_phase(Phase::Failed(failure), now);
    }

    pub(super) fn stop(&mut self, reason: StopReason, deleting: bool, now: SystemTime) {
        self.end_stage(now);
        self.token.cancel();
        (self.reason, self.deleting, self.recreate_as) = (reason, deleting, None);
        self.set_phase(Phase::Stopping, now);
    }

    pub(super) fn stopped(&mut self, now: SystemTime) {
        self.set_phase(Phase::Stopped(self.reason), now);
    }

    /// Sets the state in which the next router finds a session whose process ended with the last router.
    pub(super) fn forget_process(&mut self, reason: StopReason, now: SystemTime) {
        self.token.cancel();
        self.processes = 0;
        if !matches!(self.status.phase, Phase::Stopped(_) | Phase::Failed(_)) {
            self.end_stage(now);
            self.set_phase(Phase::Stopped(reason), now);
        }
    }

    /// Replaces the token that it shares with the session of another backend, of which it is a copy.
    pub(super) fn adopt(&mut self) {
        self.token = CancellationToken::new();
    }

    fn end_stage(&mut self, now: SystemTime) {
        for record in &mut self.status.stages {
            if record.started.is_some() && record.ended.is_none() {
                record.ended = Some(now);
            }
        }
    }

    fn set_phase(&mut self, phase: Phase, now: SystemTime) {
        (self.status.phase, self.status.since) = (phase, now);
    }
}

//! How a session's published status changes.

use std::time::SystemTime;

use super::session_file::SavedSession;
use crate::{
    git_output::Progress,
    model::{Phase, SessionStatus, Stage, StageRecord, StopReason},
    persisted::PersistedState,
};

/// The stages of a start.
const STAGES: [Stage; 2] = [Stage::Cloning, Stage::Starting];

/// Returns the status of a session without a process.
pub(super) fn of(saved: &SavedSession) -> SessionStatus {
    SessionStatus {
        session: saved.session.clone(),
        phase: match &saved.desired {
            // Its task is about to start it.
            PersistedState::Running { .. } => Phase::Stopped(StopReason::NeverStarted),
            PersistedState::Stopped { reason } => Phase::Stopped(*reason),
            PersistedState::Failed(failure) => Phase::Failed(failure.clone()),
        },
        since: saved.since,
        stages: Vec::new(),
        last_activity: saved.last_activity,
        first_prompt_sent: saved.first_prompt_sent,
        attach_tokens: saved.attach_tokens.clone(),
    }
}

/// Sets the phase, and ends the current stage.
pub(super) fn phase(status: &mut SessionStatus, phase: Phase, now: SystemTime) {
    end_stage(status, now);
    (status.phase, status.since) = (phase, now);
}

/// Begins a start: all its stages are to come.
pub(super) fn begin(status: &mut SessionStatus, now: SystemTime) {
    status.stages = STAGES.map(|stage| new_stage(stage, None)).to_vec();
    (status.phase, status.since) = (Phase::Starting, now);
}

/// Begins a stage, perhaps not for the first time.
pub(super) fn enter(status: &mut SessionStatus, stage: Stage, now: SystemTime) {
    end_stage(status, now);
    if let Some(record) = status.stages.iter_mut().find(|record| record.stage == stage) {
        *record = new_stage(stage, Some(now));
    }
}

/// Sets the progress of the current stage; it never decreases.
pub(super) fn progress(status: &mut SessionStatus, progress: &Progress) {
    if let Some(record) = current_stage(status) {
        record.message = Some(progress.message.to_string());
        record.percent = record.percent.max(progress.percent);
        record.bytes = record.bytes.max(progress.bytes);
    }
}

/// Sets the message of the current stage.
pub(super) fn message(status: &mut SessionStatus, message: &str) {
    if let Some(record) = current_stage(status) {
        record.message = Some(message.to_owned());
    }
}

fn new_stage(stage: Stage, started: Option<SystemTime>) -> StageRecord {
    StageRecord { stage, started, ended: None, message: None, percent: None, bytes: None }
}

fn current_stage(status: &mut SessionStatus) -> Option<&mut StageRecord> {
    status.stages.iter_mut().find(|record| record.started.is_some() && record.ended.is_none())
}

fn end_stage(status: &mut SessionStatus, now: SystemTime) {
    if let Some(record) = current_stage(status) {
        record.ended = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use session_key::{Identity, SessionHash};

    use super::*;
    use crate::model::{Session, Source};

    fn new_status() -> SessionStatus {
        let now = SystemTime::UNIX_EPOCH;
        let session = Session {
            hash: SessionHash::from_bytes([1; 6]),
            owner: Identity::parse("alice@example.com").unwrap(),
            source: Source::Empty,
            initial_message: None,
            created_at: now,
        };
        of(&SavedSession::new(Arc::new(session), now))
    }

    #[test]
    fn progress_never_decreases() {
        let mut status = new_status();
        begin(&mut status, SystemTime::UNIX_EPOCH);
        enter(&mut status, Stage::Cloning, SystemTime::UNIX_EPOCH);
        for (percent, bytes) in [(Some(40), Some(1000)), (None, None), (Some(30), Some(900))] {
            progress(&mut status, &Progress { message: "Receiving".into(), percent, bytes });
            assert_eq!((status.stages[0].percent, status.stages[0].bytes), (Some(40), Some(1000)));
        }
    }

    #[test]
    fn a_failure_ends_its_stage() {
        let mut status = new_status();
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        begin(&mut status, SystemTime::UNIX_EPOCH);
        enter(&mut status, Stage::Cloning, SystemTime::UNIX_EPOCH);
        phase(&mut status, Phase::Stopping, later);
        assert_eq!(status.stages[0].ended, Some(later));
        assert_eq!(status.stages[1].started, None, "the next stage never began");
    }
}

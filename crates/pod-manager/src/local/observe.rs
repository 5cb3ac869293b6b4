//! What watchers are told of a session, and how it changes.

use std::time::SystemTime;

use super::record::{Kept, Record};
use crate::{
    git_output::Progress,
    model::{Endpoint, Phase, SessionStatus, Stage, StageRecord, StopReason},
};

/// The stages of a start here.
const STAGES: [Stage; 2] = [Stage::Cloning, Stage::Starting];

/// A session as its record tells of it, without a process.
pub(super) fn of(record: &Record) -> SessionStatus {
    SessionStatus {
        session: record.session.clone(),
        phase: match &record.kept {
            // It is about to be begun.
            Kept::Running => Phase::Stopped(StopReason::NeverStarted),
            Kept::Stopped(why) => Phase::Stopped(*why),
            Kept::Failed(failure) => Phase::Failed(failure.clone()),
        },
        since: record.since,
        stages: Vec::new(),
        last_activity: record.last_activity,
        first_prompt_sent: record.first_prompt_sent,
    }
}

pub(super) fn phase(seen: &mut SessionStatus, phase: Phase, now: SystemTime) {
    // A failure ends the stage that it happened in, and so does everything else that is no start.
    end_stage(seen, now);
    (seen.phase, seen.since) = (phase, now);
}

/// A start begins: all its stages are to come.
pub(super) fn begin(seen: &mut SessionStatus, now: SystemTime) {
    let to_come =
        |stage| StageRecord { stage, started: None, ended: None, message: None, percent: None, bytes: None };
    seen.stages = STAGES.map(to_come).to_vec();
    (seen.phase, seen.since) = (Phase::Starting, now);
}

/// A stage begins, perhaps not for the first time.
pub(super) fn enter(seen: &mut SessionStatus, stage: Stage, now: SystemTime) {
    end_stage(seen, now);
    if let Some(record) = seen.stages.iter_mut().find(|record| record.stage == stage) {
        *record =
            StageRecord { stage, started: Some(now), ended: None, message: None, percent: None, bytes: None };
    }
}

/// How far the present stage is; it never goes back.
pub(super) fn step(seen: &mut SessionStatus, step: &Progress) {
    if let Some(record) = current(seen) {
        record.message = Some(step.message.to_string());
        record.percent = record.percent.max(step.percent);
        record.bytes = record.bytes.max(step.bytes);
    }
}

pub(super) fn message(seen: &mut SessionStatus, message: &str) {
    if let Some(record) = current(seen) {
        record.message = Some(message.to_owned());
    }
}

pub(super) fn ready(seen: &mut SessionStatus, endpoint: Endpoint, now: SystemTime) {
    phase(seen, Phase::Running(endpoint), now);
}

fn current(seen: &mut SessionStatus) -> Option<&mut StageRecord> {
    seen.stages.iter_mut().find(|record| record.started.is_some() && record.ended.is_none())
}

fn end_stage(seen: &mut SessionStatus, now: SystemTime) {
    if let Some(record) = current(seen) {
        record.ended = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use session_key::{Identity, SessionHash};

    use super::*;
    use crate::model::{Session, Source};

    fn seen() -> SessionStatus {
        let now = SystemTime::UNIX_EPOCH;
        let session = Session {
            hash: SessionHash::from_bytes([1; 6]),
            owner: Identity::parse("alice@example.com").unwrap(),
            source: Source::Empty,
            initial_message: None,
            created_at: now,
        };
        of(&Record::new(Arc::new(session), now))
    }

    #[test]
    fn progress_does_not_go_back() {
        let mut seen = seen();
        begin(&mut seen, SystemTime::UNIX_EPOCH);
        enter(&mut seen, Stage::Cloning, SystemTime::UNIX_EPOCH);
        for (percent, bytes) in [(Some(40), Some(1000)), (None, None), (Some(30), Some(900))] {
            step(&mut seen, &Progress { message: "Receiving".into(), percent, bytes });
            assert_eq!((seen.stages[0].percent, seen.stages[0].bytes), (Some(40), Some(1000)));
        }
    }

    #[test]
    fn a_failure_ends_the_stage_that_it_happened_in() {
        let mut seen = seen();
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        begin(&mut seen, SystemTime::UNIX_EPOCH);
        enter(&mut seen, Stage::Cloning, SystemTime::UNIX_EPOCH);
        phase(&mut seen, Phase::Stopping, later);
        assert_eq!(seen.stages[0].ended, Some(later));
        assert_eq!(seen.stages[1].started, None, "the next one never began");
    }
}

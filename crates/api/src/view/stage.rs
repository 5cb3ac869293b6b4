//! The stages of a session's start.

use pod_manager::{Stage, StageRecord, View, ViewState};

use super::time::timestamp;
use crate::wire;

pub(super) fn stages(view: &View) -> Vec<wire::Stage> {
    let failed = view.state == ViewState::Failed;
    let last_started = view.stages.iter().rposition(|record| record.started.is_some());
    let stage = |(index, record): (usize, &StageRecord)| wire::Stage {
        stage: stage_name(record.stage),
        status: match (record.started, record.ended) {
            (None, _) => wire::StageStatus::Pending,
            (Some(_), _) if failed && Some(index) == last_started => wire::StageStatus::Failed,
            (Some(_), None) => wire::StageStatus::Active,
            (Some(_), Some(_)) => wire::StageStatus::Done,
        },
        started_at: record.started.map(timestamp),
        ended_at: record.ended.map(timestamp),
        message: record.message.clone(),
        percent: record.percent,
        bytes: record.bytes,
    };
    view.stages.iter().enumerate().map(stage).collect()
}

fn stage_name(stage: Stage) -> wire::StageName {
    match stage {
        Stage::Queued => wire::StageName::Queued,
        Stage::Scheduled => wire::StageName::Scheduled,
        Stage::Volume => wire::StageName::Volume,
        Stage::Image => wire::StageName::Image,
        Stage::Cloning => wire::StageName::Cloning,
        Stage::Starting => wire::StageName::Starting,
        Stage::Ready => wire::StageName::Ready,
    }
}

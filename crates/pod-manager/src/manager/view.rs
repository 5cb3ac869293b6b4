use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::model::{Endpoint, Phase, SessionStatus, Stage, StageRecord};

/// What a session is doing, for its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// On its way to `Running`: being brought about, or its opencode is being made ready.
    Creating,
    /// Requests are served.
    Running,
    /// On its way to `Stopped`, or to being gone.
    Stopping,
    /// Not there, but for its files.
    Stopped,
    /// It could not be started or kept running; [`Phase::Failed`] says why.
    Failed,
}

impl Status {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Creating, Self::Running, Self::Stopping, Self::Stopped, Self::Failed];

    /// The status as programs see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// A session at one moment, as its owner sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// What the backend saw last.
    pub observed: Arc<SessionStatus>,
    /// What it is doing. It runs somewhat later than the backend says: once opencode was greeted.
    pub status: Status,
    /// The stages of the present or last start, [`Stage::Ready`] (the manager's own) among them.
    pub stages: Vec<StageRecord>,
    /// When a person used it last, some seconds late.
    pub last_activity: SystemTime,
    /// An agent was at work when it was asked last.
    pub busy: bool,
    /// Why its opencode can't be asked whether an agent is at work, in words without a full stop; while that is so it
    /// is not stopped for being idle.
    pub unasked: Option<String>,
    /// The newest conversation's title, once it has one.
    pub title: Option<String>,
    /// The path that leads into the repository, from `/`; `None` until it is known.
    pub entry: Option<String>,
}

impl View {
    /// The view of one who sees what the backend sees, and asks no opencode.
    #[must_use]
    pub fn from_afar(observed: &Arc<SessionStatus>) -> Self {
        let opened = matches!(observed.phase, Phase::Running(_)).then_some(observed.since);
        Self {
            observed: observed.clone(),
            status: status(&observed.phase, opened.is_some(), false),
            stages: stages(observed, opened),
            last_activity: observed.last_activity,
            busy: false,
            unasked: None,
            title: None,
            entry: None,
        }
    }

    /// Where it answers, while the backend says that it runs.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match &self.observed.phase {
            Phase::Running(endpoint) => Some(endpoint),
            _ => None,
        }
    }
}

/// What the manager knows of one run of a session, beside what the backend sees.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RunFacts {
    /// When this manager saw it first.
    pub(super) first_seen: SystemTime,
    /// When it was opened to its owner; `None`: not yet.
    pub(super) opened: Option<SystemTime>,
    pub(super) busy: bool,
    /// Why the last question could not be asked; `None` where it was answered.
    pub(super) unasked: Option<String>,
    /// When an agent was at work last.
    pub(super) busy_at: Option<SystemTime>,
    /// When the first message was handed over, in this run.
    pub(super) prompted: Option<SystemTime>,
    pub(super) title: Option<String>,
    pub(super) entry: Option<String>,
}

/// The view that follows from what is known.
pub(super) fn view(
    observed: &Arc<SessionStatus>,
    run: Option<&RunFacts>,
    last_activity: SystemTime,
    closing: bool,
) -> View {
    let opened = run.and_then(|run| run.opened);
    View {
        observed: observed.clone(),
        status: status(&observed.phase, opened.is_some(), closing),
        stages: stages(observed, opened),
        last_activity: last_activity.max(observed.last_activity),
        busy: run.is_some_and(|run| run.busy),
        unasked: run.and_then(|run| run.unasked.clone()),
        title: run.and_then(|run| run.title.clone()),
        entry: run.and_then(|run| run.entry.clone()),
    }
}

fn status(phase: &Phase, opened: bool, closing: bool) -> Status {
    match phase {
        Phase::Starting => Status::Creating,
        Phase::Running(_) if closing => Status::Stopping,
        Phase::Running(_) if opened => Status::Running,
        Phase::Running(_) => Status::Creating,
        Phase::Stopping => Status::Stopping,
        Phase::Stopped(_) => Status::Stopped,
        Phase::Failed(_) => Status::Failed,
    }
}

/// When opencode of a running session first answered: a backend may tell since when its process runs, which is the stage before.
pub(super) fn answered(observed: &SessionStatus) -> SystemTime {
    let ended = observed.stages.iter().filter_map(|record| record.ended).max();
    ended.map_or(observed.since, |at| at.max(observed.since))
}

/// The backend's stages, and the manager's own last one.
fn stages(observed: &SessionStatus, opened: Option<SystemTime>) -> Vec<StageRecord> {
    let mut stages = observed.stages.clone();
    let (started, ended) = match observed.phase {
        Phase::Running(_) => (Some(answered(observed)), opened),
        Phase::Starting => (None, None),
        Phase::Stopped(_) | Phase::Stopping | Phase::Failed(_) => return stages,
    };
    stages.retain(|record| record.stage != Stage::Ready);
    stages.push(StageRecord {
        stage: Stage::Ready,
        started,
        ended,
        message: None,
        percent: None,
        bytes: None,
    });
    stages
}

/// How long ago; no time at all where a clock went backwards.
pub(super) fn since(now: SystemTime, then: SystemTime) -> Duration {
    now.duration_since(then).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use session_key::{Identity, SessionHash};

    use super::*;
    use crate::model::{Session, Source};

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    /// A session whose process began in second 10, and was answered by in second 12.
    fn running() -> Arc<SessionStatus> {
        let session = Session {
            hash: SessionHash::from_bytes([1; 6]),
            owner: Identity::parse("alice@example.com").unwrap(),
            source: Source::Empty,
            initial_message: None,
            created_at: at(1),
        };
        let starting = StageRecord {
            stage: Stage::Starting,
            started: Some(at(10)),
            ended: Some(at(12)),
            message: None,
            percent: None,
            bytes: None,
        };
        let address = ([127, 0, 0, 1], 4096).into();
        Arc::new(SessionStatus {
            session: Arc::new(session),
            phase: Phase::Running(Endpoint { address, password: None, run_id: "r".into() }),
            since: at(10),
            stages: vec![starting],
            last_activity: at(1),
            first_prompt_sent: true,
        })
    }

    #[test]
    fn the_last_stage_begins_where_the_one_before_it_ends() {
        let facts = RunFacts {
            first_seen: at(12),
            opened: Some(at(13)),
            busy: false,
            unasked: None,
            busy_at: None,
            prompted: None,
            title: None,
            entry: None,
        };
        let ready = view(&running(), Some(&facts), at(1), false).stages.pop().unwrap();
        assert_eq!((ready.stage, ready.started, ready.ended), (Stage::Ready, Some(at(12)), Some(at(13))));
    }

    #[test]
    fn who_asks_no_opencode_takes_what_runs_for_running() {
        let view = View::from_afar(&running());
        assert_eq!(view.status, Status::Running);
        assert!(view.stages.iter().all(|record| record.ended.is_some()), "{:?}", view.stages);
    }
}

//! What an owner sees of a session: what the backend reports, combined with what the manager knows of the
//! run.

use std::{sync::Arc, time::SystemTime};

use super::run_state::RunState;
use crate::{
    model::{Endpoint, Phase, SessionStatus, Stage, StageRecord},
    ports::SessionPorts,
};

/// The longest description of a session, in characters.
const DESCRIPTION_CHARS: usize = 120;

/// The state of a session, as its owner sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ViewState {
    /// On its way to `Running`: it is being started, or its opencode is being prepared.
    Creating,
    /// Requests are served.
    Running,
    /// On its way to `Stopped`, or being deleted.
    Stopping,
    /// Only its files exist.
    Stopped,
    /// It could not be started or kept running; [`Phase::Failed`] says why.
    Failed,
}

impl ViewState {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Creating, Self::Running, Self::Stopping, Self::Stopped, Self::Failed];

    /// Returns the state's name, for programs.
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
    /// What the backend reported last.
    pub status: Arc<SessionStatus>,
    /// Its state. `Running` comes after the backend's: once opencode was prepared.
    pub state: ViewState,
    /// The stages of the current or last start, including [`Stage::Ready`], which the manager adds.
    pub stages: Vec<StageRecord>,
    /// The first words of the first prompt, if it has one.
    pub description: Option<String>,
    /// When a person used it last; some seconds late.
    pub last_activity: SystemTime,
    /// Whether an agent is at work.
    pub busy: bool,
    /// Whether every agent at work waits for an answer of its user.
    pub waiting: bool,
    /// Why the last probe of its opencode failed, without a full stop. Until a probe succeeds, the session is
    /// not stopped as idle.
    pub probe_error: Option<String>,
    /// The newest conversation's title, once it has one.
    pub title: Option<String>,
    /// The path that leads into the repository, from `/`; `None` until it is known.
    pub landing_path: Option<String>,
    /// The session's dev servers.
    pub ports: SessionPorts,
}

impl View {
    /// Creates a view from the backend's report alone, without asking opencode.
    #[must_use]
    pub fn from_status(status: &Arc<SessionStatus>) -> Self {
        let opened_at = matches!(status.phase, Phase::Running(_)).then_some(status.since);
        Self {
            status: status.clone(),
            state: state(&status.phase, opened_at.is_some(), false),
            stages: stages(status, opened_at),
            description: status.session.initial_message.as_deref().and_then(describe),
            last_activity: status.last_activity,
            busy: false,
            waiting: false,
            probe_error: None,
            title: None,
            landing_path: None,
            ports: SessionPorts::default(),
        }
    }

    /// Returns the endpoint that requests are forwarded to. A session that has no first prompt to wait for is
    /// served as soon as its opencode answers, though it is shown as running only once its landing path is
    /// known.
    pub(super) fn served(&self) -> Option<&Endpoint> {
        let is_prompt_done = self.status.first_prompt_sent || self.status.session.initial_message.is_none();
        match self.state {
            ViewState::Running => self.endpoint(),
            ViewState::Creating if is_prompt_done => self.endpoint(),
            _ => None,
        }
    }

    /// Returns the session's endpoint, if the backend reports that it runs.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match &self.status.phase {
            Phase::Running(endpoint) => Some(endpoint),
            _ => None,
        }
    }
}

/// Derives the view. `closing`: the session is about to be stopped as idle.
pub(super) fn derive(
    status: &Arc<SessionStatus>,
    description: Option<&str>,
    run: Option<&RunState>,
    last_activity: SystemTime,
    closing: bool,
) -> View {
    let opened_at = run.and_then(|run| run.opened_at);
    View {
        status: status.clone(),
        state: state(&status.phase, opened_at.is_some(), closing),
        stages: stages(status, opened_at),
        description: description.map(str::to_owned),
        last_activity: last_activity.max(status.last_activity),
        busy: run.is_some_and(|run| run.busy),
        waiting: run.is_some_and(|run| run.waiting_since.is_some()),
        probe_error: run.and_then(|run| run.probe_error.clone()),
        title: run.and_then(|run| run.title.clone()),
        landing_path: run.and_then(|run| run.landing_path.clone()),
        ports: run.map(|run| run.ports.clone()).unwrap_or_default(),
    }
}

/// Returns the first line of a message that is not empty, cut at a word.
pub(super) fn describe(message: &str) -> Option<String> {
    let line = message.lines().map(str::trim).find(|line| !line.is_empty())?;
    let Some((end, _)) = line.char_indices().nth(DESCRIPTION_CHARS) else { return Some(line.to_owned()) };
    let cut = line[..end].rfind(char::is_whitespace).unwrap_or(end);
    Some(format!("{}…", line[..cut].trim_end()))
}

fn state(phase: &Phase, opened: bool, closing: bool) -> ViewState {
    match phase {
        Phase::Starting => ViewState::Creating,
        Phase::Running(_) if closing => ViewState::Stopping,
        Phase::Running(_) if opened => ViewState::Running,
        Phase::Running(_) => ViewState::Creating,
        Phase::Stopping => ViewState::Stopping,
        Phase::Stopped(_) => ViewState::Stopped,
        Phase::Failed(_) => ViewState::Failed,
    }
}

/// Returns when opencode of a running session first answered. Some backends report since when its process
/// runs, which is the stage before; so the end of that stage counts.
pub(super) fn answered_at(status: &SessionStatus) -> SystemTime {
    let ended = status.stages.iter().filter_map(|record| record.ended).max();
    ended.map_or(status.since, |at| at.max(status.since))
}

/// Returns the backend's stages, with the manager's own at the end.
fn stages(status: &SessionStatus, opened_at: Option<SystemTime>) -> Vec<StageRecord> {
    let (started, ended) = match status.phase {
        Phase::Running(_) => (Some(answered_at(status)), opened_at),
        Phase::Starting => (None, None),
        Phase::Stopped(_) | Phase::Stopping | Phase::Failed(_) => return status.stages.clone(),
    };
    let mut stages = Vec::with_capacity(status.stages.len() + 1);
    stages.extend(status.stages.iter().filter(|record| record.stage != Stage::Ready).cloned());
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use session_key::{Identity, SessionHash};

    use super::*;
    use crate::model::{Session, Source};

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    /// A session whose process started in second 10, and whose opencode answered first in second 12.
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
            attach_tokens: Arc::default(),
        })
    }

    #[test]
    fn the_ready_stage_begins_when_the_stage_before_it_ends() {
        let run = RunState::new(at(12), Some(at(13)));
        let ready = derive(&running(), None, Some(&run), at(1), false).stages.pop().unwrap();
        assert_eq!((ready.stage, ready.started, ready.ended), (Stage::Ready, Some(at(12)), Some(at(13))));
    }

    #[test]
    fn a_description_is_one_line_cut_at_a_word() {
        assert_eq!(describe("\n\n  Do this. \nThen that."), Some("Do this.".into()));
        assert_eq!(describe(" \n\t"), None);
        let long = "word ".repeat(40);
        let short = describe(&long).unwrap();
        assert!(short.ends_with("word…") && short.chars().count() <= DESCRIPTION_CHARS + 1, "{short}");
        let unbroken = "é".repeat(200);
        assert_eq!(describe(&unbroken), Some("é".repeat(DESCRIPTION_CHARS) + "…"));
    }

    #[test]
    fn a_view_from_the_status_alone_counts_a_running_session_as_open() {
        let view = View::from_status(&running());
        assert_eq!(view.state, ViewState::Running);
        assert!(view.stages.iter().all(|record| record.ended.is_some()), "{:?}", view.stages);
    }
}

//! From what is seen of a session to what travels: pure functions.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use pod_manager::{Phase, Source, Stage, StageRecord, StopReason, UnsavedWork, View, ViewState};
use session_key::{HostScheme, SessionRoute, Target};

use crate::wire;

/// Characters of the first message that describe a session.
const DESCRIPTION_CHARS: usize = 120;

/// A session as it travels. `url`: where a browser goes, once it runs. `idle_timeout`: `None` where it is not known, as to who
/// asks the cluster itself; it travels as 0 then.
#[must_use]
pub fn session(view: &View, url: Option<String>, idle_timeout: Option<Duration>) -> wire::Session {
    let asked = &view.status.session;
    let (repo_url, branch, source_branch) = match &asked.source {
        Source::Repository { url, branch, from } => {
            (Some(url.to_string()), Some(branch.to_string()), from.as_ref().map(ToString::to_string))
        }
        Source::Empty => (None, None, None),
    };
    wire::Session {
        hash: asked.hash,
        email: asked.owner.email().to_owned(),
        repo_url,
        branch,
        source_branch,
        state: state(view.state),
        state_since: timestamp(view.status.since),
        url,
        last_activity: timestamp(view.last_activity),
        created_at: timestamp(asked.created_at),
        idle_timeout_minutes: idle_timeout.map_or(0, minutes),
        description: asked.initial_message.as_deref().and_then(description),
        title: view.title.clone(),
        attach_url: None,
        reason: reason(view, idle_timeout),
        busy: view.busy,
        stages: stages(view),
    }
}

/// What deleting a session would lose, as it travels.
#[must_use]
pub fn unsaved(work: Option<UnsavedWork>) -> wire::UnsavedWork {
    let known = work.is_some();
    let UnsavedWork { uncommitted_files, unpushed_commits } =
        work.unwrap_or(UnsavedWork { uncommitted_files: 0, unpushed_commits: 0 });
    wire::UnsavedWork { known, uncommitted_files, unpushed_commits }
}

/// Whole minutes, rounded up, since 0 means never: so does what no `u32` can hold.
#[must_use]
pub fn minutes(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs().div_ceil(60)).unwrap_or(0)
}

/// A status as it travels.
#[must_use]
pub fn state(state: ViewState) -> wire::State {
    match state {
        ViewState::Creating => wire::State::Creating,
        ViewState::Running => wire::State::Running,
        ViewState::Stopping => wire::State::Stopping,
        ViewState::Stopped => wire::State::Stopped,
        ViewState::Failed => wire::State::Failed,
    }
}

/// `<proto>://<session's host><landing path>`, once it runs.
#[must_use]
pub fn url(view: &View, scheme: &HostScheme, proto: &str) -> Option<String> {
    let path = (view.state == ViewState::Running).then(|| view.landing_path.as_deref().unwrap_or("/"))?;
    let route = SessionRoute { hash: view.status.session.hash, target: Target::Opencode };
    Some(format!("{proto}://{}{path}", scheme.render(&route)))
}

fn reason(view: &View, idle_timeout: Option<Duration>) -> Option<wire::Reason> {
    match (&view.status.phase, view.state) {
        (Phase::Failed(failure), ViewState::Failed) => Some(wire::Reason {
            code: failure.code.as_str().to_owned(),
            message: failure.message.clone(),
            advice: Some(failure.advice.clone()).filter(|advice| !advice.is_empty()),
            log_tail: failure.log_tail.clone(),
        }),
        (Phase::Stopped(why), ViewState::Stopped) => {
            let (message, advice) = stopped(*why, idle_timeout);
            let code = why.as_str().to_owned();
            Some(wire::Reason { code, message, advice: Some(advice.to_owned()), log_tail: None })
        }
        (Phase::Running(_), ViewState::Running) => view.probe_error.as_deref().map(|why| wire::Reason {
            code: "not_answering".to_owned(),
            message: format!(
                "It is not stopped for being idle, since opencode can't be asked whether its agent is at work: {why}."
            ),
            advice: Some("Stop it if nobody needs it, and resume it to start opencode anew.".to_owned()),
            log_tail: None,
        }),
        _ => None,
    }
}

fn stopped(why: StopReason, idle_timeout: Option<Duration>) -> (String, &'static str) {
    let resume = "Resume it to go on where you were.";
    match why {
        StopReason::Idle => match idle_timeout.map(minutes) {
            None => ("Nobody used it for the idle timeout.".to_owned(), resume),
            Some(1) => ("Nobody used it for 1 minute.".to_owned(), resume),
            Some(minutes) => (format!("Nobody used it for {minutes} minutes."), resume),
        },
        StopReason::Requested => ("It was stopped on request.".to_owned(), resume),
        StopReason::RouterStopped => ("It was stopped together with the router.".to_owned(), resume),
        StopReason::RouterCrashed => (
            "The router ended without stopping it, so it was ended at the router's next start.".to_owned(),
            resume,
        ),
        StopReason::NeverStarted => ("It was made, but never started.".to_owned(), "Resume it to start it."),
    }
}

fn stages(view: &View) -> Vec<wire::Stage> {
    let failed = view.state == ViewState::Failed;
    let last_begun = view.stages.iter().rposition(|record| record.started.is_some());
    let stage = |(at, record): (usize, &StageRecord)| wire::Stage {
        stage: stage_name(record.stage),
        status: match (record.started, record.ended) {
            (None, _) => wire::StageStatus::Pending,
            (Some(_), _) if failed && Some(at) == last_begun => wire::StageStatus::Failed,
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

/// The first words of a message: its first line that is not empty, cut at a word.
fn description(message: &str) -> Option<String> {
    let line = message.lines().map(str::trim).find(|line| !line.is_empty())?;
    let Some((end, _)) = line.char_indices().nth(DESCRIPTION_CHARS) else { return Some(line.to_owned()) };
    let cut = line[..end].rfind(char::is_whitespace).unwrap_or(end);
    Some(format!("{}…", line[..cut].trim_end()))
}

/// A time as it travels. One that no calendar holds (the year 10000) becomes the nearest that does.
fn timestamp(time: SystemTime) -> Timestamp {
    let before = time < SystemTime::UNIX_EPOCH;
    Timestamp::try_from(time).unwrap_or(if before { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;

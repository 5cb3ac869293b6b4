//! What watchers are told of a session: a pure function of what is wanted, what is there, and what this router found out.

use std::{sync::Arc, time::SystemTime};

use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};

use super::{
    record::{greeted, last_activity},
    sight::{self, State},
    wanted::{Wanted, What, run_of},
};
use crate::{
    git_output::Progress,
    model::{Endpoint, Failure, FailureCode, Phase, Session, SessionStatus, Stage, StopReason},
};

/// What the objects do not tell: this router asked for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// opencode of this run answers.
    pub(super) ready: Option<Ready>,
    /// opencode of this run did not answer in time.
    pub(super) silent: Option<Silent>,
    /// How far the clone in the Pod of this UID is.
    pub(super) clone: Option<(String, Progress)>,
}

/// An opencode that answers.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub(super) run: String,
    pub(super) endpoint: Endpoint,
    pub(super) at: SystemTime,
}

/// An opencode that does not answer.
#[derive(Debug, Clone)]
pub(super) struct Silent {
    pub(super) run: String,
    pub(super) failure: Failure,
    /// It began lately and never answered: the run is over. Else it ran before this router came, and may be at work
    /// where this router can't reach it: it is left alone, and asked on.
    pub(super) is_over: bool,
}

/// What [`of`] makes of a session.
pub(super) struct Outlook {
    pub(super) observed: SessionStatus,
    pub(super) wanted: Wanted,
    pub(super) state: State,
}

/// Looks at a session's objects.
pub(super) fn of(
    session: &Arc<Session>,
    (pvc, pod, events): (&PersistentVolumeClaim, Option<&Pod>, &[Event]),
    facts: &Facts,
    now: SystemTime,
) -> Outlook {
    let wanted = Wanted::of(pvc, pod);
    let made = pod.and_then(|pod| pod.metadata.creation_timestamp.as_ref()).map(sight::wall);
    let since = wanted.at.or(made).unwrap_or(session.created_at);
    // A Pod of another run tells nothing of the start that is wanted.
    let is_it = |pod: &&Pod| match &wanted.what {
        What::Running(run) => run_of(pod) == Some(run),
        What::AsItIs => true,
        What::Stopped(_) | What::Failed(_) => false,
    };
    let of_run = pod.filter(is_it);
    let mut sight = sight::of(pvc, pod, events, since, now);
    let silent = match &sight.state {
        State::Up(up) => facts.silent.as_ref().filter(|silent| silent.run == up.run),
        _ => None,
    };
    if let Some(silent) = silent.filter(|silent| silent.is_over) {
        sight.state = State::Failed(silent.failure.clone());
    }
    let ready = match &sight.state {
        State::Up(up) => facts.ready.as_ref().filter(|ready| ready.run == up.run).zip(Some(up)),
        _ => None,
    };
    let found = (ready.map(|(ready, _)| ready), silent);
    let phase = phase(&wanted.what, &sight.state, pod.is_some(), of_run.is_some(), found);
    let mut stages = match (&phase, of_run) {
        (Phase::Stopped(_) | Phase::Stopping, _) => Vec::new(),
        (Phase::Failed(_), None) => Vec::new(),
        (_, None) => sight::of(pvc, None, &[], since, now).stages,
        (_, Some(_)) => sight.stages,
    };
    if let (Phase::Running(_), Some((ready, _)), Some(last)) = (&phase, ready, stages.last_mut()) {
        last.ended = Some(last.started.map_or(ready.at, |started| started.max(ready.at)));
    }
    if let Some((uid, step)) = &facts.clone
        && pod.and_then(|pod| pod.metadata.uid.as_ref()) == Some(uid)
        && let Some(clone) = stages.iter_mut().find(|stage| stage.stage == Stage::Cloning)
        && clone.started.is_some()
        && clone.ended.is_none()
    {
        clone.message = Some(step.message.to_string());
        (clone.percent, clone.bytes) = (step.percent, step.bytes);
    }
    let observed = SessionStatus {
        session: session.clone(),
        since: match (&phase, ready) {
            (Phase::Running(_), Some((_, up))) => up.since.max(since),
            _ => since,
        },
        phase,
        stages,
        last_activity: last_activity(pvc, pod, session),
        first_prompt_sent: greeted(pvc),
    };
    Outlook { observed, wanted, state: sight.state }
}

fn phase(
    wanted: &What,
    state: &State,
    has_pod: bool,
    has_its_pod: bool,
    (ready, silent): (Option<&Ready>, Option<&Silent>),
) -> Phase {
    let lost = |failure: &Failure| matches!(failure.code, FailureCode::VolumeLost | FailureCode::NodeLost);
    match (wanted, state) {
        (What::Failed(failure), _) => Phase::Failed(failure.clone()),
        // Neither ends by itself, and whatever is wanted waits for it.
        (_, State::Blocked(failure)) if lost(failure) => Phase::Failed(failure.clone()),
        (What::Stopped(why), _) if !has_pod => Phase::Stopped(*why),
        (What::AsItIs, State::Stopped) => Phase::Stopped(StopReason::Idle),
        (_, State::Stopping) => Phase::Stopping,
        (What::Stopped(_), _) => Phase::Stopping,
        (What::Running(_), _) if !has_pod => Phase::Starting,
        (What::Running(_), _) if !has_its_pod => Phase::Stopping,
        (_, State::Blocked(failure)) => Phase::Failed(failure.clone()),
        // It is about to be given up, and is told as failed once that is written down: with what its log says, the same by every
        // router.
        (_, State::Failed(_)) => Phase::Starting,
        (_, State::Up(_)) => match (ready, silent) {
            (Some(ready), _) => Phase::Running(ready.endpoint.clone()),
            (None, Some(silent)) => Phase::Failed(silent.failure.clone()),
            (None, None) => Phase::Starting,
        },
        (_, State::Stopped | State::Starting) => Phase::Starting,
    }
}

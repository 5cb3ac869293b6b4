//! Why a session is in its state.

use std::time::Duration;

use pod_manager::{Phase, StopReason, View, ViewState};

use super::time::minutes;
use crate::wire;

pub(super) fn reason(view: &View, idle_timeout: Option<Duration>) -> Option<wire::Reason> {
    match (&view.status.phase, view.state) {
        (Phase::Failed(failure), ViewState::Failed) => Some(wire::Reason {
            code: failure.code.as_str().to_owned(),
            message: failure.message.clone(),
            advice: Some(failure.advice.clone()).filter(|advice| !advice.is_empty()),
            log_tail: failure.log_tail.clone(),
        }),
        (Phase::Stopped(reason), ViewState::Stopped) => {
            let (message, advice) = stopped(*reason, idle_timeout);
            let code = reason.as_str().to_owned();
            Some(wire::Reason { code, message, advice: Some(advice.to_owned()), log_tail: None })
        }
        (Phase::Running(_), ViewState::Running) => view.probe_error.as_deref().map(|error| wire::Reason {
            code: "not_answering".to_owned(),
            message: format!(
                "The session is not stopped as idle, because its opencode does not report whether the \
                 agent is working: {error}."
            ),
            advice: Some("Stop the session, and resume it to restart opencode.".to_owned()),
            log_tail: None,
        }),
        _ => None,
    }
}

/// Returns why the session is stopped, and what to do.
fn stopped(reason: StopReason, idle_timeout: Option<Duration>) -> (String, &'static str) {
    let resume = "Resume the session to continue where you left off.";
    match reason {
        StopReason::Idle => match idle_timeout.map(minutes) {
            None => ("The session was not used for the idle timeout.".to_owned(), resume),
            Some(1) => ("The session was not used for 1 minute.".to_owned(), resume),
            Some(minutes) => (format!("The session was not used for {minutes} minutes."), resume),
        },
        StopReason::Requested => ("The session was stopped on request.".to_owned(), resume),
        StopReason::RouterStopped => ("The session was stopped together with the router.".to_owned(), resume),
        StopReason::RouterCrashed => (
            "The router ended without stopping the session, so the next start of the router stopped it."
                .to_owned(),
            resume,
        ),
        StopReason::NeverStarted => {
            ("The session was created but never started.".to_owned(), "Resume the session to start it.")
        }
    }
}

//! Sessions, as their owners and administrators see them.

use std::time::Duration;

use pod_manager::{Source, UnsavedWork, Usage, View, ViewState};

use super::{
    reason::reason,
    stage::stages,
    time::{minutes, timestamp},
};
use crate::wire;

/// Converts a session. `url` is its address for a browser, if it runs. `idle_timeout` is `None` for a caller
/// that reads the cluster itself and does not know it; the wire type then holds 0.
#[must_use]
pub fn session(view: &View, url: Option<String>, idle_timeout: Option<Duration>) -> wire::Session {
    let session = &view.status.session;
    let (repo_url, branch, source_branch) = match &session.source {
        Source::Repository { url, branch, from } => {
            (Some(url.to_string()), Some(branch.to_string()), from.as_ref().map(ToString::to_string))
        }
        Source::Empty => (None, None, None),
    };
    wire::Session {
        hash: session.hash,
        email: session.owner.email().to_owned(),
        repo_url,
        branch,
        source_branch,
        state: state(view.state),
        state_since: timestamp(view.status.since),
        url,
        last_activity: timestamp(view.last_activity),
        created_at: timestamp(session.created_at),
        idle_timeout_minutes: idle_timeout.map_or(0, minutes),
        description: view.description.clone(),
        title: view.title.clone(),
        attach_url: None,
        reason: reason(view, idle_timeout),
        busy: view.busy,
        waiting: view.waiting,
        stages: stages(view),
        ports: Vec::new(),
    }
}

/// Converts a session for an administrator.
#[must_use]
pub fn admin_session(view: &View, usage: &Usage, idle_timeout: Duration) -> wire::AdminSession {
    let wire::Session {
        hash,
        email,
        repo_url,
        branch,
        state,
        state_since,
        reason,
        busy,
        last_activity,
        created_at,
        ..
    } = session(view, None, Some(idle_timeout));
    wire::AdminSession {
        hash,
        email,
        repo_url,
        branch,
        state,
        state_since,
        // The log is read by its own route, which is audited.
        reason: reason.map(|reason| wire::Reason { log_tail: None, ..reason }),
        busy,
        last_activity,
        created_at,
        node: usage.node.as_deref().map(str::to_owned),
        cpu_millicores: usage.cpu_millicores,
        memory_bytes: usage.memory_bytes,
    }
}

/// Converts a state.
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

/// Converts the work that deleting a session would lose.
#[must_use]
pub fn unsaved(work: Option<UnsavedWork>) -> wire::UnsavedWork {
    let known = work.is_some();
    let UnsavedWork { uncommitted_files, unpushed_commits } =
        work.unwrap_or(UnsavedWork { uncommitted_files: 0, unpushed_commits: 0 });
    wire::UnsavedWork { known, uncommitted_files, unpushed_commits }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;

//! The events of a session's start, for one viewer. Pure.

use std::collections::VecDeque;

use crate::wire::{Session, SessionEvent, Stage, StageName, StageStatus, State};

/// The events that one viewer has yet to receive.
#[derive(Debug, Default)]
pub(super) struct EventQueue {
    events: VecDeque<SessionEvent>,
    /// The state and stages of the events queued so far.
    state: Option<State>,
    stages: Vec<Stage>,
    ended: bool,
}

impl EventQueue {
    /// Queues events for what changed since the last update. `None` stands for a session that was deleted.
    pub(super) fn update(&mut self, session: Option<Session>) {
        let Some(session) = session else {
            let message = "The session was deleted.".to_owned();
            return self.end(SessionEvent::Error { message, reason: None });
        };
        if session.state == State::Creating && session.stages != self.stages {
            self.events.extend(progress(&session.stages));
            self.stages.clone_from(&session.stages);
        }
        if self.state != Some(session.state) {
            self.state = Some(session.state);
            self.events.push_back(SessionEvent::StateChange { state: session.state });
        }
        match (session.state, session.url) {
            (State::Running, Some(url)) => self.end(SessionEvent::Complete { url }),
            (State::Failed | State::Stopped, _) => {
                let fallback = if session.state == State::Failed {
                    "The session failed."
                } else {
                    "The session is stopped."
                };
                let message = session.reason.as_ref().map_or(fallback, |reason| &reason.message).to_owned();
                self.end(SessionEvent::Error { message, reason: session.reason });
            }
            (State::Creating | State::Running | State::Stopping, _) => {}
        }
    }

    /// Removes and returns the next event.
    pub(super) fn pop(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// Whether there is nothing to send until the session changes.
    pub(super) fn is_waiting(&self) -> bool {
        self.events.is_empty() && !self.ended
    }

    /// Whether the last event was queued.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    fn end(&mut self, last: SessionEvent) {
        self.events.push_back(last);
        self.ended = true;
    }
}

/// Returns the event of the current stage: the active one, else the last that is done, else the first.
fn progress(stages: &[Stage]) -> Option<SessionEvent> {
    let has = |status| move |stage: &&Stage| stage.status == status;
    let current = stages
        .iter()
        .find(has(StageStatus::Active))
        .or_else(|| stages.iter().rfind(has(StageStatus::Done)))
        .or_else(|| stages.first())?;
    let message = current.message.clone().unwrap_or_else(|| description(current.stage).to_owned());
    Some(SessionEvent::Progress { stage: current.stage, message, stages: stages.to_vec() })
}

fn description(stage: StageName) -> &'static str {
    match stage {
        StageName::Queued => "Waiting to start",
        StageName::Scheduled => "Finding a node",
        StageName::Volume => "Attaching the volume",
        StageName::Image => "Pulling the image",
        StageName::Cloning => "Cloning the repository",
        StageName::Starting => "Starting opencode",
        StageName::Ready => "Opening the first session",
    }
}

#[cfg(test)]
mod tests {
    use session_key::SessionHash;

    use super::*;
    use crate::wire::Reason;

    fn session(state: State) -> Session {
        let at = jiff::Timestamp::UNIX_EPOCH;
        Session {
            hash: SessionHash::from_bytes([1; 6]),
            email: "alice@example.com".into(),
            repo_url: None,
            branch: None,
            source_branch: None,
            state,
            state_since: at,
            url: (state == State::Running).then(|| "http://x/".into()),
            last_activity: at,
            created_at: at,
            idle_timeout_minutes: 30,
            description: None,
            title: None,
            attach_url: None,
            reason: None,
            busy: false,
            waiting: false,
            stages: vec![
                stage(StageName::Cloning, StageStatus::Pending),
                stage(StageName::Starting, StageStatus::Pending),
            ],
            ports: Vec::new(),
        }
    }

    fn stage(stage: StageName, status: StageStatus) -> Stage {
        Stage { stage, status, started_at: None, ended_at: None, message: None, percent: None, bytes: None }
    }

    /// Returns the events of these updates, and whether the queue ended: `cloning: message`, a state, `->
    /// url`, `! message`.
    fn events(updates: impl IntoIterator<Item = Option<Session>>) -> (Vec<String>, bool) {
        let mut queue = EventQueue::default();
        let mut lines = Vec::new();
        for update in updates {
            assert!(!queue.has_ended(), "an update after the end");
            queue.update(update);
            while let Some(event) = queue.pop() {
                lines.push(match event {
                    SessionEvent::Progress { stage, message, .. } => format!("{stage:?}: {message}"),
                    SessionEvent::StateChange { state } => format!("{state:?}"),
                    SessionEvent::Complete { url } => format!("-> {url}"),
                    SessionEvent::Error { message, reason } => format!("! {message} {}", reason.is_some()),
                });
            }
        }
        (lines, queue.has_ended())
    }

    #[test]
    fn a_start_is_reported_stage_by_stage_and_ends_with_the_url() {
        let waiting = session(State::Creating);
        let mut cloning = waiting.clone();
        cloning.stages[0] = stage(StageName::Cloning, StageStatus::Active);
        cloning.stages[0].message = Some("Receiving objects".into());
        let mut starting = cloning.clone();
        starting.stages[0].status = StageStatus::Done;
        starting.stages[1].status = StageStatus::Active;
        let (lines, ended) =
            events([waiting, cloning.clone(), cloning, starting, session(State::Running)].map(Some));
        let expected = [
            "Cloning: Cloning the repository",
            "Creating",
            "Cloning: Receiving objects",
            "Starting: Starting opencode",
            "Running",
            "-> http://x/",
        ];
        assert_eq!((lines, ended), (expected.map(str::to_owned).to_vec(), true));
    }

    #[test]
    fn running_without_a_url_is_not_the_end() {
        let mut early = session(State::Running);
        early.url = None;
        let (lines, ended) = events([Some(early)]);
        assert_eq!((lines, ended), (vec!["Running".to_owned()], false));
    }

    #[test]
    fn stopping_is_not_the_end_since_a_start_may_follow() {
        let (lines, ended) = events([session(State::Stopping), session(State::Creating)].map(Some));
        assert_eq!((lines.len(), ended), (3, false), "{lines:?}");
    }

    #[test]
    fn failed_stopped_and_deleted_are_the_end() {
        let mut failed = session(State::Failed);
        let reason =
            Reason { code: "disk_full".into(), message: "No space.".into(), advice: None, log_tail: None };
        failed.reason = Some(reason);
        for (update, last) in [
            (Some(failed), "! No space. true"),
            (Some(session(State::Failed)), "! The session failed. false"),
            (Some(session(State::Stopped)), "! The session is stopped. false"),
            (None, "! The session was deleted. false"),
        ] {
            let (lines, ended) = events([update]);
            assert_eq!((lines.last().map(String::as_str), ended), (Some(last), true));
        }
    }
}

//! What a viewer of one session's start is told, and when that is over: pure.

use std::collections::VecDeque;

use crate::wire::{Session, SessionEvent, Stage, StageName, StageStatus, State};

/// What one viewer was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    queue: VecDeque<SessionEvent>,
    state: Option<State>,
    stages: Vec<Stage>,
    ended: bool,
}

impl Told {
    /// Takes what is there now; `None`: the session is gone. Queues what the viewer does not know yet.
    pub(super) fn see(&mut self, now: Option<Session>) {
        let Some(now) = now else {
            return self
                .end(SessionEvent::Error { message: "The session was deleted.".into(), reason: None });
        };
        if now.state == State::Creating && now.stages != self.stages {
            self.queue.extend(progress(&now.stages));
            self.stages.clone_from(&now.stages);
        }
        if self.state != Some(now.state) {
            self.state = Some(now.state);
            self.queue.push_back(SessionEvent::StateChange { state: now.state });
        }
        match (now.state, now.url) {
            (State::Running, Some(url)) => self.end(SessionEvent::Complete { url }),
            (State::Failed | State::Stopped, _) => {
                let fallback = if now.state == State::Failed {
                    "The session failed."
                } else {
                    "The session is stopped."
                };
                let message = now.reason.as_ref().map_or(fallback, |reason| &reason.message).to_owned();
                self.end(SessionEvent::Error { message, reason: now.reason });
            }
            (State::Creating | State::Running | State::Stopping, _) => {}
        }
    }

    /// What to tell next.
    pub(super) fn next(&mut self) -> Option<SessionEvent> {
        self.queue.pop_front()
    }

    /// There is nothing to tell until something changes.
    pub(super) fn nothing_new(&self) -> bool {
        self.queue.is_empty() && !self.ended
    }

    /// The last event was queued.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    fn end(&mut self, last: SessionEvent) {
        self.queue.push_back(last);
        self.ended = true;
    }
}

/// The stage under way: the one that is active, else the last that is done, else the first to come.
fn progress(stages: &[Stage]) -> Option<SessionEvent> {
    let with = |status| move |stage: &&Stage| stage.status == status;
    let now = stages
        .iter()
        .find(with(StageStatus::Active))
        .or_else(|| stages.iter().rfind(with(StageStatus::Done)))
        .or_else(|| stages.first())?;
    let message = now.message.clone().unwrap_or_else(|| in_words(now.stage).to_owned());
    Some(SessionEvent::Progress { stage: now.stage, message, stages: stages.to_vec() })
}

fn in_words(stage: StageName) -> &'static str {
    match stage {
        StageName::Queued => "Waiting for its turn",
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
            stages: vec![
                stage(StageName::Cloning, StageStatus::Pending),
                stage(StageName::Starting, StageStatus::Pending),
            ],
        }
    }

    fn stage(stage: StageName, status: StageStatus) -> Stage {
        Stage { stage, status, started_at: None, ended_at: None, message: None, percent: None, bytes: None }
    }

    /// What a viewer is told of these moments: `cloning: words`, a state, `-> url`, `! why`.
    fn told(moments: impl IntoIterator<Item = Option<Session>>) -> (Vec<String>, bool) {
        let mut told = Told::default();
        let mut lines = Vec::new();
        for moment in moments {
            assert!(!told.ended(), "seen after the end");
            told.see(moment);
            while let Some(event) = told.next() {
                lines.push(match event {
                    SessionEvent::Progress { stage, message, .. } => format!("{stage:?}: {message}"),
                    SessionEvent::StateChange { state } => format!("{state:?}"),
                    SessionEvent::Complete { url } => format!("-> {url}"),
                    SessionEvent::Error { message, reason } => format!("! {message} {}", reason.is_some()),
                });
            }
        }
        (lines, told.ended())
    }

    #[test]
    fn a_start_is_told_stage_by_stage_and_ends_with_the_url() {
        let waiting = session(State::Creating);
        let mut cloning = waiting.clone();
        cloning.stages[0] = stage(StageName::Cloning, StageStatus::Active);
        cloning.stages[0].message = Some("Receiving objects".into());
        let mut starting = cloning.clone();
        starting.stages[0].status = StageStatus::Done;
        starting.stages[1].status = StageStatus::Active;
        let (lines, ended) =
            told([waiting, cloning.clone(), cloning, starting, session(State::Running)].map(Some));
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
        let (lines, ended) = told([Some(early)]);
        assert_eq!((lines, ended), (vec!["Running".to_owned()], false));
    }

    #[test]
    fn stopping_is_not_the_end_since_a_start_may_follow() {
        let (lines, ended) = told([session(State::Stopping), session(State::Creating)].map(Some));
        assert_eq!((lines.len(), ended), (3, false), "{lines:?}");
    }

    #[test]
    fn failed_stopped_and_deleted_are_the_end() {
        let mut failed = session(State::Failed);
        let reason =
            Reason { code: "disk_full".into(), message: "No space.".into(), advice: None, log_tail: None };
        failed.reason = Some(reason);
        for (moment, last) in [
            (Some(failed), "! No space. true"),
            (Some(session(State::Failed)), "! The session failed. false"),
            (Some(session(State::Stopped)), "! The session is stopped. false"),
            (None, "! The session was deleted. false"),
        ] {
            let (lines, ended) = told([moment]);
            assert_eq!((lines.last().map(String::as_str), ended), (Some(last), true));
        }
    }
}

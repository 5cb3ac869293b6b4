//! Which agents of a session are at work. [`Agents`] is pure: it is told what opencode says, by events and by
//! answers.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use parking_lot::Mutex;

use crate::{
    model::Endpoint,
    opencode::{Event, MAX_BUSY, OpencodeClient, OpencodeError},
};

/// How many child conversations are known with their parents.
const MAX_PARENTS: usize = 256;
/// In how many folders opencode is asked for agents at work.
const MAX_DIRECTORIES: usize = 4;

/// Whether an agent needs the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Work {
    /// No agent is at work.
    #[default]
    None,
    /// Every agent at work waits for an answer of its user.
    Waiting,
    /// An agent works, or waits for the model.
    Working,
}

/// The agents of one run. A sub-agent works in a child conversation, and its parent is busy meanwhile.
#[derive(Debug, Default)]
pub(super) struct Agents {
    /// The conversations in which an agent works, with the folder that it works in.
    busy: BTreeMap<String, Option<Box<str>>>,
    /// The open questions to the user: conversation and request.
    requests: Vec<(String, String)>,
    /// The parent of each child conversation that is known.
    parents: HashMap<String, String>,
    /// How many events have changed this.
    version: u64,
    followed: bool,
}

impl Agents {
    /// Applies an event. Returns whether it changed anything.
    pub(super) fn apply(&mut self, event: &Event) -> bool {
        let changed = match event {
            Event::Status { session, busy: true, directory } => {
                self.busy.len() < MAX_BUSY && self.busy.insert(session.clone(), directory.clone()).is_none()
            }
            Event::Status { session, busy: false, .. } => self.end(session),
            Event::Deleted { session } => {
                self.parents.remove(session);
                self.end(session)
            }
            Event::Asked { session, request } => {
                let new = !self.requests.iter().any(|(_, known)| known == request);
                if new && self.requests.len() < MAX_BUSY {
                    self.requests.push((session.clone(), request.clone()));
                }
                new
            }
            Event::Answered { request } => {
                let before = self.requests.len();
                self.requests.retain(|(_, known)| known != request);
                self.requests.len() != before
            }
            Event::Conversation(conversation) => {
                if let Some(parent) = &conversation.parent {
                    self.set_parent(conversation.session.clone(), parent.clone());
                }
                false
            }
            _ => false,
        };
        self.version += u64::from(changed);
        changed
    }

    /// Returns a number that changes with every event that changes the agents.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Records the answers to questions that were asked when the version was `version`. Events that came
    /// since are newer than the answers, which are ignored then. Returns whether they were recorded.
    pub(super) fn set_busy(&mut self, version: u64, busy: Vec<String>) -> bool {
        let current = self.version == version;
        if current {
            let mut directories = std::mem::take(&mut self.busy);
            self.busy = busy
                .into_iter()
                .map(|session| {
                    let directory = directories.remove(&session).flatten();
                    (session, directory)
                })
                .collect();
            self.requests.retain(|(session, _)| self.busy.contains_key(session));
        }
        current
    }

    /// Returns the folders in which agents work, as far as they are known.
    pub(super) fn directories(&self) -> BTreeSet<Box<str>> {
        self.busy.values().flatten().take(MAX_DIRECTORIES).cloned().collect()
    }

    /// Records which questions to the user are open.
    pub(super) fn set_requests(&mut self, requests: Vec<(String, String)>) {
        self.requests = requests;
    }

    /// Records whether events are received. Without them nothing reports answers to open questions, so those
    /// are forgotten.
    pub(super) fn set_followed(&mut self, followed: bool) {
        self.followed = followed;
        if !followed {
            self.requests.clear();
        }
    }

    /// Returns whether events are received.
    pub(super) fn is_followed(&self) -> bool {
        self.followed
    }

    /// Records that a conversation was started by another one.
    pub(super) fn set_parent(&mut self, child: String, parent: String) {
        if self.parents.len() >= MAX_PARENTS {
            self.parents.retain(|child, _| self.busy.contains_key(child));
        }
        if self.parents.len() < MAX_PARENTS {
            self.parents.insert(child, parent);
        }
    }

    /// Returns whether an agent needs the session.
    pub(super) fn work(&self) -> Work {
        if self.busy.is_empty() {
            return Work::None;
        }
        let mut waiting = HashSet::new();
        for (session, _) in &self.requests {
            let mut next = Some(session);
            while let Some(session) = next.filter(|session| waiting.insert(session.as_str())) {
                next = self.parents.get(session);
            }
        }
        if self.busy.keys().all(|session| waiting.contains(session.as_str())) {
            Work::Waiting
        } else {
            Work::Working
        }
    }

    fn end(&mut self, session: &str) -> bool {
        let before = self.requests.len();
        self.requests.retain(|(asker, _)| asker != session);
        self.busy.remove(session).is_some() || self.requests.len() != before
    }
}

/// Asks opencode in which conversations an agent works: in the folder that it was started in, and in those in
/// which agents are known to work. Returns the version of `agents` before it was asked, and the
/// conversations.
pub(super) async fn ask(
    opencode: &OpencodeClient,
    endpoint: &Endpoint,
    agents: &Mutex<Agents>,
) -> Result<(u64, Vec<String>), OpencodeError> {
    let (version, directories) = {
        let agents = agents.lock();
        (agents.version(), agents.directories())
    };
    let mut busy = opencode.busy_conversations(endpoint, None).await?;
    for directory in directories {
        // A folder may be gone; nobody works in it then.
        let there = opencode.busy_conversations(endpoint, Some(&directory)).await.unwrap_or_default();
        busy.extend(there.into_iter().take(MAX_BUSY));
    }
    Ok((version, busy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(session: &str, busy: bool) -> Event {
        Event::Status { session: session.into(), busy, directory: Some("/repo".into()) }
    }

    fn asked(session: &str, request: &str) -> Event {
        Event::Asked { session: session.into(), request: request.into() }
    }

    #[track_caller]
    fn check(events: &[Event], expected: Work) {
        let mut agents = Agents::default();
        agents.set_parent("child".into(), "root".into());
        for event in events {
            agents.apply(event);
        }
        assert_eq!(agents.work(), expected, "{events:?}");
    }

    #[test]
    fn a_sub_agent_at_work_is_work() {
        check(&[], Work::None);
        check(&[status("root", true)], Work::Working);
        check(&[status("root", true), status("root", false)], Work::None);
        check(&[status("root", true), status("child", true), status("root", false)], Work::Working);
        check(&[status("root", true), Event::Deleted { session: "root".into() }], Work::None);
    }

    #[test]
    fn a_session_waits_if_all_its_agents_wait_for_the_user() {
        let answered = Event::Answered { request: "r".into() };
        check(&[status("root", true), asked("root", "r")], Work::Waiting);
        check(&[status("root", true), asked("root", "r"), answered], Work::Working);
        let child_asks = [status("root", true), status("child", true), asked("child", "r")];
        check(&child_asks, Work::Waiting);
        let mut other_works = child_asks.to_vec();
        other_works.push(status("other", true));
        check(&other_works, Work::Working);
        check(&[status("root", true), asked("root", "r"), status("root", false)], Work::None);
    }

    #[test]
    fn an_answer_is_ignored_if_an_event_came_since_the_question() {
        let mut agents = Agents::default();
        let asked_at = agents.version();
        agents.apply(&status("root", true));
        assert!(!agents.set_busy(asked_at, Vec::new()), "the answer is older than the event");
        assert_eq!(agents.work(), Work::Working);
        assert!(agents.set_busy(agents.version(), Vec::new()));
        assert_eq!(agents.work(), Work::None);
    }

    #[test]
    fn parents_in_a_circle_end_the_search() {
        let mut agents = Agents::default();
        agents.set_parent("a".into(), "b".into());
        agents.set_parent("b".into(), "a".into());
        agents.apply(&status("a", true));
        agents.apply(&asked("a", "r"));
        assert_eq!(agents.work(), Work::Waiting);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut agents = Agents::default();
        for number in 0..10_000 {
            agents.apply(&status(&format!("s{number}"), true));
            agents.apply(&asked(&format!("s{number}"), &format!("r{number}")));
            agents.set_parent(format!("c{number}"), "root".into());
        }
        assert_eq!((agents.busy.len(), agents.requests.len()), (MAX_BUSY, MAX_BUSY));
        assert!(agents.parents.len() <= MAX_PARENTS);
    }
}

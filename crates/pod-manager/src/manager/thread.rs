//! The latest messages of a session's newest conversation, within bounds. Pure: it is told what opencode
//! says.

use std::{collections::VecDeque, sync::Arc};

use crate::opencode::{Conversation, ConversationChange, Event, MAX_TEXT, Part, Role, keep_end};

/// How many texts are kept of a conversation; the newest ones.
pub(super) const MAX_MESSAGES: usize = 30;
/// How much text is kept of a conversation, in bytes.
const MAX_BYTES: usize = 48 * 1024;
/// How many messages are known with their author.
const MAX_ROLES: usize = 64;
/// How much further text may follow before a long text is cut again.
const CUT_GRAIN: usize = 1024;

/// A text that a user or an agent wrote. A message may have several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadMessage {
    /// The id of the text (`prt_…`).
    pub part_id: String,
    /// The id of the message (`msg_…`). Ids ascend with time.
    pub message_id: String,
    /// The id of the conversation (`ses_…`).
    pub session_id: Arc<str>,
    /// Who wrote it.
    pub role: Role,
    /// The text; of a long one, the end after `…`.
    pub text: String,
    /// When it was written, in milliseconds since 1970.
    pub time: u64,
}

/// What a viewer has to show next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ThreadUpdate {
    /// The whole thread; it replaces what is shown.
    Snapshot {
        /// The conversation's title, once it has one.
        title: Option<String>,
        /// The oldest first.
        messages: Vec<ThreadMessage>,
    },
    /// These are new, or have more text.
    Messages(Vec<ThreadMessage>),
}

/// How much of a thread a viewer has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    epoch: u64,
    revision: u64,
}

#[derive(Debug, Default)]
pub(super) struct Thread {
    /// The run that this is from.
    run_id: Option<Arc<str>>,
    /// Counts the changes that a viewer learns as a whole: another conversation, a title, a removal.
    epoch: u64,
    /// Counts the changes of texts.
    revision: u64,
    conversation: Option<Current>,
    /// The authors of the latest messages.
    roles: VecDeque<(String, Role)>,
    /// In order of their ids; with each, the revision of its last change.
    messages: Vec<(ThreadMessage, u64)>,
}

#[derive(Debug)]
struct Current {
    id: Arc<str>,
    title: Option<String>,
    updated: u64,
    /// The first message that the user took back.
    reverted: Option<String>,
}

/// What an event means for the thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// Viewers have something to show.
    Shown,
    /// opencode has to be asked again which conversation is the newest, and what it says.
    Reload,
}

impl Thread {
    /// Replaces everything by what opencode answered.
    pub(super) fn load(
        &mut self,
        run_id: &Arc<str>,
        conversation: Option<Conversation>,
        texts: Vec<(Role, Part)>,
    ) {
        self.run_id = Some(run_id.clone());
        self.epoch += 1;
        self.revision += 1;
        self.roles.clear();
        self.messages.clear();
        self.conversation = conversation.map(|new| Current {
            id: new.id.into(),
            title: new.title,
            updated: new.updated,
            reverted: new.reverted,
        });
        for (role, part) in texts {
            self.set_role(part.message.clone(), role);
            self.set_part(part);
        }
    }

    /// Forgets everything, if it is from this run. Returns whether it was.
    pub(super) fn clear(&mut self, run_id: &Arc<str>) -> bool {
        let of_run = self.run_id.as_ref() == Some(run_id);
        if of_run {
            *self = Self { epoch: self.epoch + 1, revision: self.revision, ..Self::default() };
        }
        of_run
    }

    /// Returns the title of the conversation with this id, if it is the one that is shown.
    pub(super) fn title(&self) -> Option<&str> {
        self.conversation.as_ref()?.title.as_deref()
    }

    /// Applies an event.
    pub(super) fn apply(&mut self, event: Event) -> Change {
        match event {
            Event::Conversation(change) => self.apply_conversation(change),
            Event::Deleted { session } if self.shows(&session) => Change::Reload,
            Event::Message { session, message, role } if self.shows(&session) => {
                self.set_role(message, role);
                Change::None
            }
            Event::MessageRemoved { session, message } if self.shows(&session) => {
                self.remove(|shown| shown.message_id == message)
            }
            Event::PartRemoved { session, part } if self.shows(&session) => {
                self.remove(|shown| shown.part_id == part)
            }
            Event::Part(part) if self.shows(&part.session) => {
                if self.set_part(part) {
                    Change::Shown
                } else {
                    Change::None
                }
            }
            Event::Delta { session, part, text } if self.shows(&session) => self.append(&part, &text),
            Event::Disposed => Change::Reload,
            _ => Change::None,
        }
    }

    fn apply_conversation(&mut self, change: ConversationChange) -> Change {
        if change.parent.is_some() {
            return Change::None;
        }
        let Some(current) = &mut self.conversation else { return Change::Reload };
        if *current.id != *change.session {
            // Which one is the newest is opencode's to say.
            return if change.updated >= current.updated { Change::Reload } else { Change::None };
        }
        current.updated = change.updated.max(current.updated);
        let changed = (&current.title, &current.reverted) != (&change.title, &change.reverted);
        if !changed {
            return Change::None;
        }
        (current.title, current.reverted) = (change.title, change.reverted);
        self.epoch += 1;
        Change::Shown
    }

    /// Returns what a viewer has to show that has seen `seen`, and what it has seen then. A new viewer has a
    /// snapshot to show in any case.
    pub(super) fn update_since(&self, seen: Option<Seen>) -> Option<(ThreadUpdate, Seen)> {
        let now = Seen { epoch: self.epoch, revision: self.revision };
        let reverted = self.conversation.as_ref().and_then(|current| current.reverted.as_deref());
        let shown = self.messages.iter().filter(|(message, _)| {
            !message.text.is_empty() && reverted.is_none_or(|first| message.message_id.as_str() < first)
        });
        let Some(seen) = seen.filter(|seen| seen.epoch == now.epoch) else {
            let messages = shown.map(|(message, _)| message.clone()).collect();
            return Some((ThreadUpdate::Snapshot { title: self.title().map(str::to_owned), messages }, now));
        };
        let changed: Vec<_> = shown
            .filter(|(_, revision)| *revision > seen.revision)
            .map(|(message, _)| message.clone())
            .collect();
        (!changed.is_empty()).then_some((ThreadUpdate::Messages(changed), now))
    }

    fn shows(&self, session: &str) -> bool {
        self.conversation.as_ref().is_some_and(|current| *current.id == *session)
    }

    fn set_role(&mut self, message: String, role: Role) {
        if self.roles.iter().any(|(known, _)| *known == message) {
            return;
        }
        self.roles.push_back((message, role));
        if self.roles.len() > MAX_ROLES {
            self.roles.pop_front();
        }
    }

    /// Returns whether the text is shown, and new.
    fn set_part(&mut self, part: Part) -> bool {
        let role = self.roles.iter().rev().find(|(id, _)| *id == part.message).map(|(_, role)| *role);
        let (Some(role), Some(current)) = (role, &self.conversation) else { return false };
        let id = (part.message.as_str(), part.id.as_str());
        let found = self.messages.binary_search_by(|(known, _)| known.id().cmp(&id));
        if found.is_ok_and(|at| self.messages[at].0.text == part.text) {
            return false;
        }
        self.revision += 1;
        let time = part.time.unwrap_or_default();
        match found {
            Ok(at) => {
                let (message, revision) = &mut self.messages[at];
                (message.text, *revision) = (part.text, self.revision);
            }
            Err(at) => {
                let message = ThreadMessage {
                    part_id: part.id,
                    message_id: part.message,
                    session_id: current.id.clone(),
                    role,
                    text: part.text,
                    time,
                };
                self.messages.insert(at, (message, self.revision));
            }
        }
        self.shrink();
        true
    }

    fn append(&mut self, part: &str, text: &str) -> Change {
        let Some((message, revision)) = self.messages.iter_mut().rfind(|(known, _)| known.part_id == part)
        else {
            return Change::None;
        };
        message.text.push_str(text);
        if message.text.len() > MAX_TEXT + CUT_GRAIN {
            message.text = keep_end(&message.text);
        }
        self.revision += 1;
        *revision = self.revision;
        self.shrink();
        Change::Shown
    }

    fn remove(&mut self, removed: impl Fn(&ThreadMessage) -> bool) -> Change {
        let before = self.messages.len();
        self.messages.retain(|(message, _)| !removed(message));
        if self.messages.len() == before {
            return Change::None;
        }
        self.epoch += 1;
        Change::Shown
    }

    /// Drops the oldest texts beyond the bounds. Viewers keep what they show.
    fn shrink(&mut self) {
        let mut bytes: usize = self.messages.iter().map(|(message, _)| message.text.len()).sum();
        let mut dropped = 0;
        while self.messages.len() - dropped > 1
            && (self.messages.len() - dropped > MAX_MESSAGES || bytes > MAX_BYTES)
        {
            bytes -= self.messages[dropped].0.text.len();
            dropped += 1;
        }
        self.messages.drain(..dropped);
    }
}

impl ThreadMessage {
    fn id(&self) -> (&str, &str) {
        (&self.message_id, &self.part_id)
    }
}

#[cfg(test)]
#[path = "thread_tests.rs"]
mod tests;

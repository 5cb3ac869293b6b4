//! messages: prints the latest messages of a session and, with `--follow`, what is written.

use std::{collections::HashMap, io::Write};

use api::wire::{Role, ThreadEvent, ThreadMessage};
use futures_util::StreamExt;

use super::Context;
use crate::{error::CliError, terminal::sanitize};

impl Context {
    pub(super) async fn messages(&self, name: &str, follow: bool) -> Result<(), CliError> {
        let client = self.router("messages")?;
        let hash = self.pick(name).await?;
        let mut events = client.watch_messages(hash);
        let mut transcript = Transcript::default();
        while let Some(event) = events.next().await {
            match event? {
                ThreadEvent::Snapshot(thread) => {
                    if thread.messages.is_empty() && !follow {
                        self.terminal.note("There are no messages. Only a running session has any.");
                    }
                    for message in &thread.messages {
                        self.print_text(&transcript.add(message))?;
                    }
                    if !follow {
                        break;
                    }
                }
                ThreadEvent::Message(message) => self.print_text(&transcript.add(&message))?,
            }
        }
        if transcript.last.is_some() { self.print_text("\n") } else { Ok(()) }
    }

    /// Prints text without control characters: an agent, or a page that it read, may have written it.
    fn print_text(&self, text: &str) -> Result<(), CliError> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(sanitize(text).as_bytes())?;
        Ok(stdout.flush()?)
    }
}

/// What was printed last, so that a text that grows is continued.
#[derive(Debug, Default)]
struct Transcript {
    last: Option<ThreadMessage>,
    /// All texts that were printed, by their ids.
    printed: HashMap<String, String>,
}

impl Transcript {
    /// Returns what is to be printed of a text that is new, or has changed.
    fn add(&mut self, message: &ThreadMessage) -> String {
        let before = self.printed.insert(message.part_id.clone(), message.text.clone());
        if before.as_deref() == Some(message.text.as_str()) {
            return String::new();
        }
        let last = self.last.replace(message.clone());
        let is_last = last.as_ref().is_some_and(|last| last.part_id == message.part_id);
        if is_last && let Some(added) = before.as_deref().and_then(|text| message.text.strip_prefix(text)) {
            return added.to_owned();
        }
        let author = match message.role {
            Role::User => "You",
            Role::Assistant => "Agent",
        };
        let gap = if last.is_some() { "\n\n" } else { "" };
        format!("{gap}{author}:\n{}", message.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, role: Role, text: &str) -> ThreadMessage {
        ThreadMessage {
            part_id: id.into(),
            message_id: id.into(),
            session_id: "ses_1".into(),
            role,
            text: text.into(),
            time: 1,
        }
    }

    #[test]
    fn a_text_that_grows_is_continued_and_a_known_one_is_not_printed_again() {
        let mut transcript = Transcript::default();
        let mut check = |id, role, text, expected| {
            assert_eq!(transcript.add(&message(id, role, text)), expected, "{text:?}");
        };
        check("a", Role::User, "Do it.", "You:\nDo it.");
        check("b", Role::Assistant, "On", "\n\nAgent:\nOn");
        check("b", Role::Assistant, "On it.", " it.");
        check("b", Role::Assistant, "On it.", "");
        check("b", Role::Assistant, "Never mind.", "\n\nAgent:\nNever mind.");
        check("a", Role::User, "Do it.", "");
        check("c", Role::Assistant, "Done.", "\n\nAgent:\nDone.");
    }
}

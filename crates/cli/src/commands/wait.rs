//! Waits until a session runs, and tells how far it is.

use std::io::Write;

use api::wire::{SessionEvent, Stage, StageName};
use futures_util::StreamExt;
use session_key::SessionHash;

use super::Context;
use crate::{failure::Failure, table::stage_name, terminal::harmless};

impl Context {
    /// Where the session is reached, once it runs.
    pub(super) async fn wait(&self, hash: SessionHash) -> Result<String, Failure> {
        let mut shown = Shown { live: self.terminal.err_tty, quiet: self.terminal.quiet, stage: None };
        let mut events = self.client.watch(hash);
        while let Some(event) = events.next().await {
            match event.inspect_err(|_| shown.clear())? {
                SessionEvent::Progress { stage, message, stages } => shown.show(stage, &message, &stages),
                SessionEvent::StateChange { .. } => {}
                SessionEvent::Complete { url } => {
                    shown.clear();
                    self.terminal.say(format_args!("Session {hash} runs: {}", harmless(&url, false)));
                    return Ok(url);
                }
                SessionEvent::Error { message, reason } => {
                    shown.clear();
                    let advice = reason.as_ref().and_then(|reason| reason.advice.as_deref());
                    let log = reason.as_ref().and_then(|reason| reason.log_tail.as_deref());
                    let parts = [log.map(|log| format!("Its log ends:\n{log}")), advice.map(str::to_owned)];
                    let more = parts.into_iter().flatten().collect::<Vec<_>>().join("\n");
                    let failure = Failure::new(Failure::ERROR, harmless(&message, false));
                    return Err(if more.is_empty() { failure } else { failure.hint(harmless(&more, true)) });
                }
            }
        }
        shown.clear();
        Err(Failure::new(Failure::ERROR, "the router stopped telling before the session ran"))
    }
}

/// One line that is written over on a terminal; a line for each stage elsewhere.
struct Shown {
    live: bool,
    quiet: bool,
    stage: Option<StageName>,
}

impl Shown {
    fn show(&mut self, stage: StageName, message: &str, stages: &[Stage]) {
        let new = self.stage.replace(stage) != Some(stage);
        if self.quiet || !(self.live || new) {
            return;
        }
        let percent = stages.iter().find(|one| one.stage == stage).and_then(|one| one.percent);
        let percent = percent.map(|percent| format!(" {percent} %")).unwrap_or_default();
        let line = format!("{}: {}{}", stage_name(stage), harmless(message, false), percent);
        if self.live {
            // Cut to what fits on one line of most terminals, so that it can be written over.
            let line: String = line.chars().take(78).collect();
            self.write(&format!("\r\u{1b}[K{line}"));
        } else {
            self.write(&format!("{line}\n"));
        }
    }

    fn clear(&mut self) {
        if self.live && !self.quiet && self.stage.is_some() {
            self.write("\r\u{1b}[K");
        }
    }

    /// Progress that nobody can read is no failure.
    fn write(&self, text: &str) {
        let mut out = std::io::stderr().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

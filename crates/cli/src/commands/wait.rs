//! Waits until a session runs, and tells how far it is.

use std::{io::Write, time::Duration};

use api::{
    client::Client,
    wire::{Reason, SessionEvent, Stage, StageName, StageStatus, State},
};
use futures_util::StreamExt;
use session_key::SessionHash;

use tokio::time::sleep;

use super::Context;
use crate::{cluster::Cluster, failure::Failure, reach::Reach, table::stage_name, terminal::harmless};

/// Between two looks at the cluster.
const PAUSE: Duration = Duration::from_millis(500);
/// So many looks at the session for one whether a router is there.
const LOOKS: u32 = 20;

impl Context {
    /// Waits until the session runs.
    pub(super) async fn wait(&self, hash: SessionHash) -> Result<(), Failure> {
        match &self.reach {
            Reach::Router(client) => self.wait_for_url(client, hash).await.map(drop),
            Reach::Cluster(cluster) => self.wait_in(cluster, hash).await,
        }
    }

    /// Where the session is reached, once it runs.
    pub(super) async fn wait_for_url(&self, client: &Client, hash: SessionHash) -> Result<String, Failure> {
        let mut shown = self.shown();
        let mut events = client.watch(hash);
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
                    return Err(failed(&message, reason.as_ref()));
                }
            }
        }
        shown.clear();
        Err(Failure::new(Failure::ERROR, "the router stopped telling before the session ran"))
    }

    /// The same, by looking at the cluster again and again.
    async fn wait_in(&self, cluster: &Cluster, hash: SessionHash) -> Result<(), Failure> {
        let mut shown = self.shown();
        let mut looks = 0;
        loop {
            looks += 1;
            let session = match cluster.get(hash).await {
                Ok(session) => session,
                Err(why) if why.is_passing => {
                    sleep(PAUSE).await;
                    continue;
                }
                Err(why) => {
                    shown.clear();
                    return Err(why);
                }
            };
            match session.state {
                State::Running => {
                    shown.clear();
                    self.terminal.say(format_args!("Session {hash} runs."));
                    return Ok(());
                }
                State::Stopped | State::Failed => {
                    shown.clear();
                    let message = session.reason.as_ref().map(|reason| reason.message.as_str());
                    return Err(failed(message.unwrap_or("it does not run"), session.reason.as_ref()));
                }
                State::Creating | State::Stopping => {
                    let is_queued = |stage: &Stage| {
                        stage.stage == StageName::Queued && stage.status == StageStatus::Active
                    };
                    // It waits for a router to make its Pod.
                    let waits = session.state == State::Stopping || session.stages.iter().any(is_queued);
                    if waits
                        && looks % LOOKS == 1
                        && let Some(why) = cluster.nobody_there().await
                    {
                        shown.clear();
                        return Err(Failure::new(Failure::ERROR, why));
                    }
                    let now = session.stages.iter().find(|stage| stage.status == StageStatus::Active);
                    if let Some(now) = now {
                        let message = now.message.as_deref().unwrap_or("under way");
                        shown.show(now.stage, message, &session.stages);
                    }
                }
            }
            sleep(PAUSE).await;
        }
    }

    fn shown(&self) -> Shown {
        Shown { live: self.terminal.err_tty, quiet: self.terminal.quiet, stage: None }
    }
}

/// It came to nothing: why, what to do, and what its log says.
fn failed(message: &str, reason: Option<&Reason>) -> Failure {
    let advice = reason.and_then(|reason| reason.advice.as_deref());
    let log = reason.and_then(|reason| reason.log_tail.as_deref());
    let parts = [log.map(|log| format!("Its log ends:\n{log}")), advice.map(str::to_owned)];
    let more = parts.into_iter().flatten().collect::<Vec<_>>().join("\n");
    let failure = Failure::new(Failure::ERROR, harmless(message, false));
    if more.is_empty() { failure } else { failure.hint(harmless(&more, true)) }
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

//! Waits until a session is running and shows the progress of its start.

use std::{io::Write, time::Duration};

use api::{
    client::Client,
    wire::{Reason, SessionEvent, Stage, StageName, StageStatus, State},
};
use futures_util::StreamExt;
use session_key::SessionHash;
use tokio::time::sleep;

use super::Context;
use crate::{
    cluster::Cluster,
    error::CliError,
    report::SessionReport,
    table::stage_name,
    target::Target,
    terminal::{sanitize, sanitize_line},
};

/// How often a session is read from the cluster.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The router's Lease is read once in this many reads of the session.
const POLLS_PER_LEASE_CHECK: u32 = 20;
/// The progress line is cut to the width of most terminals, so that it stays one line and can be overwritten.
const PROGRESS_WIDTH: usize = 78;

impl Context {
    /// Waits until the session is running.
    pub(super) async fn wait(&self, hash: SessionHash) -> Result<(), CliError> {
        match &self.target {
            Target::Router(client) => self.wait_for_url(client, hash).await.map(drop),
            Target::AllUsers(_) => self.router("resume").map(drop),
            Target::Cluster(cluster) => self.wait_in_cluster(cluster, hash).await,
        }
    }

    /// Waits until the session is running and returns its address.
    pub(super) async fn wait_for_url(&self, client: &Client, hash: SessionHash) -> Result<String, CliError> {
        let mut progress = self.progress();
        let mut events = client.watch(hash);
        while let Some(event) = events.next().await {
            match event? {
                SessionEvent::Progress { stage, message, stages } => progress.show(stage, &message, &stages),
                SessionEvent::StateChange { .. } => {}
                SessionEvent::Complete { url } => {
                    progress.clear();
                    let address = sanitize_line(&url);
                    self.terminal.note(format_args!("Session {hash} is running: {address}"));
                    return Ok(url);
                }
                SessionEvent::Error { message, reason } => {
                    return Err(start_error(&message, reason.as_ref()));
                }
            }
        }
        let message = "the router closed the stream of events before the session was running";
        Err(CliError::new(CliError::ERROR, message))
    }

    /// Waits until the session is running by reading it from the cluster again and again.
    async fn wait_in_cluster(&self, cluster: &Cluster, hash: SessionHash) -> Result<(), CliError> {
        let mut progress = self.progress();
        let mut polls = 0_u32;
        loop {
            if polls > 0 {
                sleep(POLL_INTERVAL).await;
            }
            polls += 1;
            let session = match cluster.get(hash).await {
                Ok(session) => session,
                Err(error) if error.is_transient => continue,
                Err(error) => return Err(error),
            };
            match session.state {
                State::Running => {
                    progress.clear();
                    self.terminal.note(format_args!("Session {hash} is running."));
                    return Ok(());
                }
                State::Stopped | State::Failed => {
                    let message = session.reason.as_ref().map(|reason| reason.message.as_str());
                    return Err(start_error(message.unwrap_or("it is not running"), session.reason.as_ref()));
                }
                State::Creating | State::Stopping => {
                    if needs_router(&session)
                        && polls % POLLS_PER_LEASE_CHECK == 1
                        && let Some(warning) = cluster.no_router_warning().await
                    {
                        return Err(CliError::new(CliError::ERROR, warning));
                    }
                    if let Some(stage) = active_stage(&session) {
                        let message = stage.message.as_deref().unwrap_or("in progress");
                        progress.show(stage.stage, message, &session.stages);
                    }
                }
            }
        }
    }

    fn progress(&self) -> Progress {
        Progress { is_live: self.terminal.stderr_is_tty, quiet: self.terminal.quiet, stage: None }
    }
}

fn active_stage(session: &SessionReport) -> Option<&Stage> {
    session.stages.iter().find(|stage| stage.status == StageStatus::Active)
}

/// Whether the session waits for a router to create its Pod.
fn needs_router(session: &SessionReport) -> bool {
    let is_queued = active_stage(session).is_some_and(|stage| stage.stage == StageName::Queued);
    session.state == State::Stopping || is_queued
}

/// Returns the error of a start that failed: the reason, the end of the log and the advice.
fn start_error(message: &str, reason: Option<&Reason>) -> CliError {
    let advice = reason.and_then(|reason| reason.advice.as_deref());
    let log = reason.and_then(|reason| reason.log_tail.as_deref());
    let parts = [log.map(|log| format!("The end of its log:\n{log}")), advice.map(str::to_owned)];
    let hint = parts.into_iter().flatten().collect::<Vec<_>>().join("\n");
    let error = CliError::new(CliError::ERROR, sanitize_line(message));
    if hint.is_empty() { error } else { error.hint(sanitize(&hint)) }
}

/// The progress of a start: one line that is overwritten on a terminal, a line for each stage elsewhere.
struct Progress {
    /// Whether the line is overwritten. It is removed when this is dropped.
    is_live: bool,
    quiet: bool,
    stage: Option<StageName>,
}

impl Progress {
    fn show(&mut self, stage: StageName, message: &str, stages: &[Stage]) {
        let is_new = self.stage.replace(stage) != Some(stage);
        if self.quiet || !(self.is_live || is_new) {
            return;
        }
        let percent =
            stages.iter().find(|candidate| candidate.stage == stage).and_then(|stage| stage.percent);
        let percent = percent.map(|percent| format!(" {percent} %")).unwrap_or_default();
        let line = format!("{}: {}{}", stage_name(stage), sanitize_line(message), percent);
        if self.is_live {
            let line: String = line.chars().take(PROGRESS_WIDTH).collect();
            write_stderr(&format!("\r\u{1b}[K{line}"));
        } else {
            write_stderr(&format!("{line}\n"));
        }
    }

    fn clear(&mut self) {
        if self.is_live && !self.quiet && self.stage.take().is_some() {
            write_stderr("\r\u{1b}[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Writes to standard error. A closed one is ignored: the progress is no result.
fn write_stderr(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

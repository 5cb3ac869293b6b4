//! Reads the logs of a session's containers: the progress of a clone, the last lines for people, and the end
//! of a failed container's log for the failure.
//!
//! A session decides what its containers print, so every read is bounded: a line, the log as a whole, and the
//! time.

use std::{collections::VecDeque, io, time::Duration};

use futures_util::{AsyncBufRead, AsyncBufReadExt};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::LogParams;
use session_key::SessionHash;
use tokio::time::{Instant, sleep, timeout};

use super::{
    api::{ApiClient, ApiError, with_timeout},
    status::fields::container,
};
use crate::{
    git_output::{
        Machine, Progress, branch_not_found, clone_failure, parse_progress, redact_urls, strip_control,
    },
    model::{Failure, FailureCode},
};

/// How much of a line is read; the rest of it is dropped.
const MAX_LINE_BYTES: usize = 8 * 1024;
/// How much of a clone's log is read in all. git prints less than 300 KB of progress in an hour.
const MAX_CLONE_LOG_BYTES: usize = 4 << 20;
/// For how long a clone's log is read.
const MAX_CLONE_LOG_TIME: Duration = Duration::from_secs(60 * 60);
/// How much is read to find the last lines of a log, and how much of it is kept.
const MAX_TAIL_READ: usize = 4 << 20;
const MAX_TAIL_KEPT: usize = 512 << 10;
/// How many lines and bytes of its log a failure holds: it is stored in an annotation.
const FAILURE_LINES: usize = 30;
const FAILURE_BYTES: usize = 8 * 1024;
/// How often a log is read until it tells why git failed.
const MAX_LOG_READS: usize = 4;
/// The pause between two of these reads.
const RETRY_INTERVAL: Duration = Duration::from_millis(400);
/// The line that git-init.sh prints before it clones, and the one that serve.sh prints after that.
const CLONE_STARTED: &str = "opencode-router: cloning";
const CLONE_ENDED: &str = "opencode-router: the repository is ready";
/// The shortest time between two reports of progress.
const REPORT_INTERVAL: Duration = Duration::from_millis(250);

/// Reads lines of bounded length until a number of bytes was read. A carriage return ends a line, too.
struct BoundedLines<R> {
    reader: R,
    /// How many bytes may still be read.
    budget: usize,
    /// The last line ended with a carriage return: a line feed that follows belongs to it.
    after_return: bool,
}

impl<R: AsyncBufRead + Unpin> BoundedLines<R> {
    fn new(reader: R, budget: usize) -> Self {
        Self { reader, budget, after_return: false }
    }

    /// Returns the next line without its end; `None` at the end of the log or of the budget.
    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let mut read = false;
        while self.budget > 0 {
            let buffer = self.reader.fill_buf().await?;
            if buffer.is_empty() {
                break;
            }
            if std::mem::take(&mut self.after_return) && buffer[0] == b'\n' {
                self.reader.consume_unpin(1);
                self.budget -= 1;
                continue;
            }
            read = true;
            let available = &buffer[..buffer.len().min(self.budget)];
            let end = available.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let text = &available[..end.unwrap_or(available.len())];
            line.extend_from_slice(&text[..text.len().min(MAX_LINE_BYTES - line.len())]);
            let used = end.map_or(text.len(), |end| end + 1);
            self.after_return = end.is_some_and(|end| available[end] == b'\r');
            self.reader.consume_unpin(used);
            self.budget -= used;
            if end.is_some() {
                return Ok(Some(line));
            }
        }
        Ok(read.then_some(line))
    }
}

/// What the log of a clone says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CloneLog {
    /// The clone has begun.
    Started,
    /// It has come this far.
    Progress(Progress),
    /// The repository is there.
    Ended,
}

/// Reports how far the clone in this container is. Returns once that container's log has ended, or says that
/// the repository is there, or has reached a limit; `false` if it could not be read.
pub(super) async fn follow_clone(
    api: &ApiClient,
    hash: SessionHash,
    container: &str,
    report: impl FnMut(CloneLog),
) -> bool {
    let params = LogParams { container: Some(container.into()), follow: true, ..LogParams::default() };
    let read = async {
        match api.log_stream(hash, &params).await {
            Ok(log) => report_progress(log, report).await,
            Err(error) => Err(io::Error::other(error)),
        }
    };
    match timeout(MAX_CLONE_LOG_TIME, read).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => tracing::debug!(session.hash = %hash, %error, "clone log unreadable"),
        Err(_) => tracing::debug!(session.hash = %hash, "clone log followed for too long"),
    }
    false
}

async fn report_progress(log: impl AsyncBufRead + Unpin, mut report: impl FnMut(CloneLog)) -> io::Result<()> {
    let mut lines = BoundedLines::new(log, MAX_CLONE_LOG_BYTES);
    let mut last: Option<(Instant, Progress)> = None;
    while let Some(line) = lines.next().await? {
        let line = plain(&line);
        match line.as_str() {
            CLONE_STARTED => report(CloneLog::Started),
            CLONE_ENDED => {
                report(CloneLog::Ended);
                return Ok(());
            }
            _ => {}
        }
        let Some(progress) = parse_progress(&line) else { continue };
        let is_due = last.as_ref().is_none_or(|(at, last)| {
            last.message != progress.message
                || at.elapsed() >= REPORT_INTERVAL
                || progress.percent == Some(100)
        });
        if is_due {
            last = Some((Instant::now(), progress.clone()));
            report(CloneLog::Progress(progress));
        }
    }
    Ok(())
}

/// Returns the last lines that a container wrote, readable; `previous`: before it was restarted.
///
/// # Errors
/// [`ApiError::NotFound`] if the container has not started yet.
pub(super) async fn tail(
    api: &ApiClient,
    hash: SessionHash,
    (container, previous): (&str, bool),
    lines: usize,
) -> Result<String, ApiError> {
    let params = LogParams {
        container: Some(container.into()),
        previous,
        tail_lines: i64::try_from(lines).ok(),
        limit_bytes: i64::try_from(MAX_TAIL_READ).ok(),
        ..LogParams::default()
    };
    let read = async {
        let log = api.log_stream(hash, &params).await?;
        last_of(log, lines).await.map_err(|error| ApiError::Unreachable(error.to_string()))
    };
    with_timeout(read).await
}

/// Returns the last lines of a log as text, without control sequences, progress and credentials.
async fn last_of(log: impl AsyncBufRead + Unpin, count: usize) -> io::Result<String> {
    let mut reader = BoundedLines::new(log, MAX_TAIL_READ);
    let (mut lines, mut size) = (VecDeque::new(), 0);
    while let Some(line) = reader.next().await? {
        let line = plain(&line);
        if parse_progress(&line).is_some() {
            continue;
        }
        let line = redact_urls(&line);
        size += line.len();
        lines.push_back(line);
        while lines.len() > count || size > MAX_TAIL_KEPT {
            size -= lines.pop_front().map_or(0, |line| line.len());
        }
    }
    Ok(Vec::from(lines).join("\n"))
}

/// Returns the line as text without control sequences.
fn plain(line: &[u8]) -> String {
    strip_control(&String::from_utf8_lossy(line))
}

/// Returns the failure with the last lines of the container that failed and, if git failed, with their
/// meaning.
pub(super) async fn with_log(
    api: &ApiClient,
    hash: SessionHash,
    pod: Option<&Pod>,
    mut failure: Failure,
) -> Failure {
    let Some(pod) = pod else { return failure };
    let name = match container(pod, "git-init") {
        Some(init) if !has_succeeded(init) => "git-init",
        _ => "opencode",
    };
    let mut log = String::new();
    for _ in 0..MAX_LOG_READS {
        // kubelet restarts what ended, maybe just now. If there is an earlier attempt by the time the current
        // log was read, that attempt is the one that failed.
        let current = tail(api, hash, (name, false), FAILURE_LINES).await.unwrap_or_default();
        let previous = tail(api, hash, (name, true), FAILURE_LINES).await.unwrap_or_default();
        log = of_the_failure([end_of(&previous), end_of(&current)]);
        if failure.code != FailureCode::CloneFailed || tells_why(&log) {
            break;
        }
        // The last lines arrive shortly after the container's end.
        sleep(RETRY_INTERVAL).await;
    }
    if log.is_empty() {
        return failure;
    }
    if failure.code == FailureCode::CloneFailed {
        explain(&mut failure, &log);
    }
    failure.log_tail = Some(log);
    failure
}

fn has_succeeded(container: &ContainerStatus) -> bool {
    let end = container.state.as_ref().and_then(|state| state.terminated.as_ref());
    end.is_some_and(|end| end.exit_code == 0)
}

/// Returns the first log that tells why a container failed, else the first one that is not empty.
fn of_the_failure(logs: [String; 2]) -> String {
    // kubelet answers with a sentence of its own if it has no log.
    let is_log = |log: &String| !log.is_empty() && !log.starts_with("unable to retrieve container logs");
    let logs: Vec<_> = logs.into_iter().filter(is_log).collect();
    let best = logs.iter().position(|log| tells_why(log)).unwrap_or_default();
    logs.into_iter().nth(best).unwrap_or_default()
}

fn tells_why(log: &str) -> bool {
    log.contains("fatal:") || log.contains("error:") || log.contains("opencode-router: ")
}

/// Returns as much of a log's end as a failure holds.
fn end_of(log: &str) -> String {
    let start = log.len().saturating_sub(FAILURE_BYTES);
    let start = (start..log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(log.len());
    log[start..].trim().to_owned()
}

/// Returns the container whose log matters now, and whether it is the log from before the container's last
/// restart.
pub(super) fn log_source(pod: &Pod) -> (&'static str, bool) {
    let opencode = container(pod, "opencode");
    let has_started = opencode
        .and_then(|container| container.state.as_ref())
        .is_some_and(|state| state.running.is_some() || state.terminated.is_some());
    let has_restarted = opencode.is_some_and(|container| container.restart_count > 0);
    let is_cloned_first = container(pod, "git-init").is_some() && !has_started && !has_restarted;
    (if is_cloned_first { "git-init" } else { "opencode" }, has_restarted && !has_started)
}

/// Returns the last lines of a text.
pub(super) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Replaces a failure of the clone by what its log says.
fn explain(failure: &mut Failure, log: &str) {
    if let Some((_, source)) = log.split_once("opencode-router: branch_not_found") {
        let source = source.lines().next().map(str::trim).filter(|source| !source.is_empty());
        *failure = branch_not_found(source);
        return;
    }
    let lines: Vec<_> = log.lines().map(str::to_owned).collect();
    *failure = clone_failure(&lines, Machine::Pod);
}

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;

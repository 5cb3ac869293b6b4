//! Runs git commands in one session's folder.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use futures_util::future::join;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    git_output::{Machine, parse_progress, redact_urls, strip_control},
    local::{
        config::LocalSettings,
        environment,
        failure::{git_not_started, storage_failure},
        log::Log,
        proc_table::ProcessSelector,
        process_group::ProcessGroup,
        report::{Reporter, RunEnd},
    },
};

/// How long git may take to end after it was terminated.
const GRACE: Duration = Duration::from_secs(2);
/// How long output may take after git ended: a process that git left running may hold the pipe.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);
/// The largest standard output that is kept.
const MAX_OUTPUT: usize = 16 << 20;
/// The longest line of standard error that is kept.
const MAX_LINE: usize = 8192;
/// How many last lines of standard error are kept.
const LAST_LINES: usize = 30;

/// Configuration of every command, which wins over the repository's own: a repository is not trusted, and
/// nothing may continue in the background after git has ended. `git-init.sh` has the same list.
pub(super) const CONFIG: &[&str] = &[
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.askPass=",
    "core.pager=cat",
    "core.alternateRefsCommand=true",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    "fetch.recurseSubmodules=false",
    "submodule.recurse=false",
    // A remote that sends nothing for two minutes counts as unreachable.
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=120",
];

/// git, in one session's folder.
pub(crate) struct Git {
    program: PathBuf,
    pub(super) session_dir: PathBuf,
    variables: Vec<(OsString, OsString)>,
    pub(super) single_user: bool,
    selector: ProcessSelector,
    cancel: CancellationToken,
    log: Option<Log>,
    reporter: Option<Reporter>,
}

/// The result of one command.
pub(super) struct Output {
    status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    /// The last lines of standard error, without progress and credentials.
    pub(super) errors: Vec<String>,
}

impl Output {
    pub(super) fn ok(&self) -> bool {
        self.status.success()
    }

    /// Returns standard output as one line; `None` if git failed or printed nothing.
    pub(super) fn line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.stdout).trim().to_owned();
        (self.ok() && !text.is_empty()).then_some(text)
    }
}

impl Git {
    /// Creates git for a session. It gets the session's environment and nothing else of the router's.
    pub(crate) fn new(
        settings: &LocalSettings,
        selector: ProcessSelector,
        cancel: CancellationToken,
    ) -> Self {
        let session_dir = selector.dir.clone();
        let variables = environment::session_environment(settings, &session_dir, &selector.marker);
        Self {
            program: settings.git.clone(),
            session_dir,
            variables,
            single_user: settings.single_user,
            selector,
            cancel,
            log: None,
            reporter: None,
        }
    }

    /// Logs what git prints, and reports its progress.
    pub(crate) fn reporting_to(mut self, log: Log, reporter: Reporter) -> Self {
        (self.log, self.reporter) = (Some(log), Some(reporter));
        self
    }

    pub(super) fn repo(&self) -> PathBuf {
        self.session_dir.join("repo")
    }

    pub(super) fn machine(&self) -> Machine {
        if self.single_user { Machine::SingleUser } else { Machine::Shared }
    }

    /// Returns an environment variable of git.
    pub(super) fn variable(&self, name: &str) -> Option<&OsString> {
        self.variables.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Sets an environment variable for all following commands.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.into(), value.into()));
    }

    fn command(&self, dir: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for setting in CONFIG {
            command.args(["-c", setting]);
        }
        let protocols = match self.single_user {
            true => "http:https:ssh:git:file",
            false => "http:https:ssh:git",
        };
        // The session's folder counts only for folders below it, its parent for the folder itself.
        let ceilings = [Some(self.session_dir.as_path()), self.session_dir.parent()];
        let ceilings = std::env::join_paths(ceilings.into_iter().flatten()).unwrap_or_default();
        command
            .args(args)
            .current_dir(dir)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GCM_INTERACTIVE", "never")
            .env("SSH_ASKPASS_REQUIRE", "never")
            .env_remove("GIT_ASKPASS")
            .env_remove("SSH_ASKPASS")
            // A repository's configuration can't extend this list.
            .env("GIT_ALLOW_PROTOCOL", protocols)
            // Keeps git from using a repository further up if this one is damaged.
            .env("GIT_CEILING_DIRECTORIES", ceilings)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs one command, and logs it.
    pub(super) async fn run(&self, dir: &Path, args: &[&str]) -> Result<Output, RunEnd> {
        if let Some(log) = &self.log {
            log.line(&redact_urls(&format!("$ git {}", args.join(" "))));
        }
        self.query(dir, args).await
    }

    /// Runs one command without logging it.
    pub(super) async fn query(&self, dir: &Path, args: &[&str]) -> Result<Output, RunEnd> {
        let spawned = ProcessGroup::spawn(&mut self.command(dir, args), self.selector.clone());
        let mut group = spawned.map_err(|error| RunEnd::Failed(git_not_started(&self.program, &error)))?;
        let (stdout, stderr) = (group.child().stdout.take(), group.child().stderr.take());
        let (answer, errors) = (Mutex::default(), Mutex::default());
        let mut output = Box::pin(join(read_all(stdout, &answer), self.read_errors(stderr, &errors)));
        let ended = async {
            let status = tokio::select! {
                _ = &mut output => return group.wait().await,
                status = group.wait() => status,
            };
            let _ = timeout(OUTPUT_GRACE, &mut output).await;
            status
        };
        let status = tokio::select! {
            biased;
            () = self.cancel.cancelled() => None,
            status = ended => Some(status),
        };
        drop(output);
        match status {
            Some(Ok(status)) => {
                Ok(Output { status, stdout: answer.into_inner(), errors: errors.into_inner() })
            }
            Some(Err(error)) => {
                group.end(GRACE).await;
                Err(RunEnd::Failed(storage_failure("waiting for git failed", &error)))
            }
            None => {
                group.end(GRACE).await;
                Err(RunEnd::Cancelled)
            }
        }
    }

    /// Runs one command with a time limit; returns `None` if it took longer and was ended.
    pub(super) async fn run_within(
        &self,
        limit: Duration,
        dir: &Path,
        args: &[&str],
    ) -> Result<Option<Output>, RunEnd> {
        let cancel = self.cancel.child_token();
        let limited = Self {
            program: self.program.clone(),
            session_dir: self.session_dir.clone(),
            variables: self.variables.clone(),
            selector: self.selector.clone(),
            cancel: cancel.clone(),
            log: self.log.clone(),
            reporter: self.reporter.clone(),
            ..*self
        };
        let mut call = std::pin::pin!(limited.run(dir, args));
        match timeout(limit, &mut call).await {
            Ok(output) => output.map(Some),
            Err(_) => {
                cancel.cancel();
                match call.await {
                    Err(RunEnd::Cancelled) if !self.cancel.is_cancelled() => Ok(None),
                    other => other.map(Some),
                }
            }
        }
    }

    /// Reads standard error: reports progress, and keeps the other lines.
    async fn read_errors(&self, stderr: Option<impl AsyncRead + Unpin>, errors: &Mutex<Vec<String>>) {
        let (mut line, mut buffer) = (Vec::new(), [0; 4096]);
        let Some(mut stderr) = stderr else { return };
        while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
            for byte in &buffer[..count] {
                match byte {
                    b'\n' | b'\r' => {
                        self.on_line(&line, errors);
                        line.clear();
                    }
                    byte if line.len() < MAX_LINE => line.push(*byte),
                    _ => {}
                }
            }
        }
        self.on_line(&line, errors);
    }

    fn on_line(&self, line: &[u8], errors: &Mutex<Vec<String>>) {
        let line = redact_urls(strip_control(&String::from_utf8_lossy(line)).trim_end());
        if line.trim().is_empty() {
            return;
        }
        if let Some(progress) = parse_progress(&line) {
            if let Some(reporter) = &self.reporter {
                reporter.progress(progress);
            }
            return;
        }
        if let Some(log) = &self.log {
            log.line(&line);
        }
        let mut errors = errors.lock();
        if errors.len() == LAST_LINES {
            errors.remove(0);
        }
        errors.push(line);
    }

    /// Notes something for the user, in the log and as the stage's message.
    pub(super) fn note(&self, message: &str) {
        if let Some(log) = &self.log {
            log.line(message);
        }
        if let Some(reporter) = &self.reporter {
            reporter.message(message);
        }
    }
}

/// Reads everything, so that git never waits for a reader, and keeps at most [`MAX_OUTPUT`].
async fn read_all(output: Option<impl AsyncRead + Unpin>, answer: &Mutex<Vec<u8>>) {
    let Some(mut output) = output else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = output.read(&mut buffer).await {
        let mut answer = answer.lock();
        let room = MAX_OUTPUT.saturating_sub(answer.len());
        answer.extend_from_slice(&buffer[..count.min(room)]);
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "kubernetes")]
    #[test]
    fn the_init_script_has_the_same_configuration() {
        let script = include_str!("../../kubernetes/objects/git-init.sh");
        for setting in super::CONFIG {
            let (key, value) = setting.split_once('=').unwrap();
            let value = if value.is_empty() { "''" } else { value };
            assert!(script.contains(&format!("\nconfig {key} {value}\n")), "{setting}");
        }
    }
}

//! What the backend has git do. Every call is a process group of its own that can be called off, asks
//! nobody anything, and gets values as arguments, never by way of a shell.

mod branch;
mod clone;
mod failure;
mod programs;
mod unsaved;

use std::{
    ffi::OsString,
    io,
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

use super::{
    environment,
    group::Group,
    log::Log,
    run::{Interrupted, Tell},
    settings::LocalSettings,
    table::Traits,
};
pub(super) use clone::prepare;
pub(super) use failure::{disk_full, storage_failure};
pub(super) use unsaved::unsaved_work;

use crate::git_output::{parse_progress, redact_urls, strip_control};

/// How long git may take to end once it was asked to.
const GRACE: Duration = Duration::from_secs(2);
/// The most of git's answers (standard output) that is kept.
const MAX_OUTPUT: usize = 16 << 20;
/// How many of git's last lines (standard error) are kept.
const LAST_LINES: usize = 30;

/// Configuration for every call, which wins over the repository's own: a repository is not to be trusted,
/// and nothing is to go on in the background once git has ended.
const CONFIG: &[&str] = &[
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
    // A remote that sends nothing for two minutes is one that can't be reached.
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=120",
];

/// git, in one session's folder.
pub(super) struct Git {
    program: PathBuf,
    session_dir: PathBuf,
    variables: Vec<(OsString, OsString)>,
    own_machine: bool,
    traits: Traits,
    calloff: CancellationToken,
    log: Option<Log>,
    tell: Option<Tell>,
}

/// What became of one call.
struct Output {
    status: ExitStatus,
    stdout: Vec<u8>,
    /// The last lines of standard error, without progress and credentials.
    said: Vec<String>,
}

impl Output {
    fn ok(&self) -> bool {
        self.status.success()
    }

    /// The answer as one line of text; `None` where git failed or answered nothing.
    fn line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.stdout).trim().to_owned();
        (self.ok() && !text.is_empty()).then_some(text)
    }
}

impl Git {
    /// Prepares git for a session. It gets the session's variables and nothing else of the router's.
    pub(super) fn new(settings: &LocalSettings, traits: Traits, calloff: CancellationToken) -> Self {
        let session_dir = traits.dir.clone();
        let variables = environment::of_session(settings, &session_dir, &traits.marker);
        Self {
            program: settings.git.clone(),
            session_dir,
            variables,
            own_machine: settings.own_machine,
            traits,
            calloff,
            log: None,
            tell: None,
        }
    }

    /// Writes what git says to a log, and tells how far it is.
    pub(super) fn telling(mut self, log: Log, tell: Tell) -> Self {
        (self.log, self.tell) = (Some(log), Some(tell));
        self
    }

    fn repo(&self) -> PathBuf {
        self.session_dir.join("repo")
    }

    /// Sets a variable for all calls from here on.
    fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.into(), value.into()));
    }

    fn has_variable(&self, name: &str) -> bool {
        self.variables.iter().any(|(known, _)| known == name)
    }

    /// ssh may not ask anything either, unless the user has told git which ssh to use: then it is that one,
    /// whatever the repository's own configuration says. (Their configuration may turn any address into
    /// one of ssh.)
    async fn prepare_ssh(&mut self) -> Result<(), Interrupted> {
        if self.has_variable("GIT_SSH_COMMAND") || self.has_variable("GIT_SSH") {
            return Ok(());
        }
        let dir = self.session_dir.clone();
        let users = self.ask(&dir, &["config", "--get", "core.sshCommand"]).await?.line();
        self.set("GIT_SSH_COMMAND", users.as_deref().unwrap_or("ssh -o BatchMode=yes"));
        Ok(())
    }

    fn command(&self, dir: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for setting in CONFIG {
            command.args(["-c", setting]);
        }
        let protocols = match self.own_machine {
            true => "http:https:ssh:git:file",
            false => "http:https:ssh:git",
        };
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
            // No configuration of a repository can widen this.
            .env("GIT_ALLOW_PROTOCOL", protocols)
            // A damaged `repo/.git` must not make git find another repository further up.
            .env("GIT_CEILING_DIRECTORIES", self.ceilings())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The session's folder counts only for folders below it, and its parent for the folder itself.
    fn ceilings(&self) -> OsString {
        let folders = [Some(self.session_dir.as_path()), self.session_dir.parent()];
        std::env::join_paths(folders.into_iter().flatten()).unwrap_or_default()
    }

    /// One call, told in the log.
    async fn run(&self, dir: &Path, args: &[&str]) -> Result<Output, Interrupted> {
        if let Some(log) = &self.log {
            log.line(&redact_urls(&format!("$ git {}", args.join(" "))));
        }
        self.call(dir, args).await
    }

    /// One call that only asks, and is not told in the log.
    async fn ask(&self, dir: &Path, args: &[&str]) -> Result<Output, Interrupted> {
        self.call(dir, args).await
    }

    async fn call(&self, dir: &Path, args: &[&str]) -> Result<Output, Interrupted> {
        let spawned = Group::spawn(&mut self.command(dir, args), self.traits.clone());
        let mut group = spawned.map_err(|error| Interrupted::Failed(self.not_started(&error)))?;
        let (stdout, stderr) = (group.child().stdout.take(), group.child().stderr.take());
        let (answer, said) = (Mutex::default(), Mutex::default());
        let mut heard = Box::pin(join(read_all(stdout, &answer), self.listen(stderr, &said)));
        let work = async {
            let status = tokio::select! {
                _ = &mut heard => return group.wait().await,
                status = group.wait() => status,
            };
            // Something that git left running (a shared ssh connection) may hold on to its output.
            let _ = timeout(Duration::from_millis(500), &mut heard).await;
            status
        };
        let done = tokio::select! {
            biased;
            () = self.calloff.cancelled() => None,
            done = work => Some(done),
        };
        drop(heard);
        match done {
            Some(Ok(status)) => Ok(Output { status, stdout: answer.into_inner(), said: said.into_inner() }),
            Some(Err(error)) => {
                group.end(GRACE).await;
                Err(Interrupted::Failed(storage_failure("git could not be waited for", &error)))
            }
            None => {
                group.end(GRACE).await;
                Err(Interrupted::CalledOff)
            }
        }
    }

    /// One call that may take so long; `None` where it took longer and was ended.
    async fn run_within(
        &self,
        limit: Duration,
        dir: &Path,
        args: &[&str],
    ) -> Result<Option<Output>, Interrupted> {
        let calloff = self.calloff.child_token();
        let limited = Self { calloff: calloff.clone(), ..self.copy() };
        let mut call = std::pin::pin!(limited.run(dir, args));
        match timeout(limit, &mut call).await {
            Ok(done) => done.map(Some),
            Err(_) => {
                calloff.cancel();
                match call.await {
                    Err(Interrupted::CalledOff) if !self.calloff.is_cancelled() => Ok(None),
                    other => other.map(Some),
                }
            }
        }
    }

    fn copy(&self) -> Self {
        Self {
            program: self.program.clone(),
            session_dir: self.session_dir.clone(),
            variables: self.variables.clone(),
            own_machine: self.own_machine,
            traits: self.traits.clone(),
            calloff: self.calloff.clone(),
            log: self.log.clone(),
            tell: self.tell.clone(),
        }
    }

    /// Reads what git says while it works: progress is told, the rest is kept.
    async fn listen(&self, stderr: Option<impl AsyncRead + Unpin>, said: &Mutex<Vec<String>>) {
        let (mut line, mut buffer) = (Vec::new(), [0; 4096]);
        let Some(mut stderr) = stderr else { return };
        while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
            for byte in &buffer[..count] {
                match byte {
                    b'\n' | b'\r' => {
                        self.hear(&line, said);
                        line.clear();
                    }
                    // A line without an end must not fill the memory.
                    byte if line.len() < 8192 => line.push(*byte),
                    _ => {}
                }
            }
        }
        self.hear(&line, said);
    }

    fn hear(&self, line: &[u8], said: &Mutex<Vec<String>>) {
        let line = redact_urls(strip_control(&String::from_utf8_lossy(line)).trim_end());
        if line.trim().is_empty() {
            return;
        }
        if let Some(step) = parse_progress(&line) {
            if let Some(tell) = &self.tell {
                tell.progress(step);
            }
            return;
        }
        if let Some(log) = &self.log {
            log.line(&line);
        }
        let mut said = said.lock();
        if said.len() == LAST_LINES {
            said.remove(0);
        }
        said.push(line);
    }

    /// Tells the user something, and the log.
    fn say(&self, message: &str) {
        if let Some(log) = &self.log {
            log.line(message);
        }
        if let Some(tell) = &self.tell {
            tell.message(message);
        }
    }
}

async fn read_all(output: Option<impl AsyncRead + Unpin>, answer: &Mutex<Vec<u8>>) {
    let Some(mut output) = output else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = output.read(&mut buffer).await {
        let mut answer = answer.lock();
        // What is beyond is thrown away, so that git does not wait for a reader.
        let room = MAX_OUTPUT.saturating_sub(answer.len());
        answer.extend_from_slice(&buffer[..count.min(room)]);
    }
}

/// Whether a folder is there; anything else in its place is not.
fn is_dir(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_dir())
}

/// Runs blocking work on files off the asynchronous threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

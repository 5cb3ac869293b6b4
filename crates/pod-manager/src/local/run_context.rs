//! What one run works with.

use std::{io, path::PathBuf, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{
    context::Context,
    environment::{GIT_CONFIG, SYSTEM_GIT_CONFIGS},
    files::{make_dir, write_atomic},
    log::{self, Log},
    proc_table::ProcessSelector,
    report::Reporter,
};
use crate::model::{GitAuthor, Session};

/// How many lines of the log a failure holds.
const TAIL_LINES: usize = 30;

/// What one run works with.
pub(super) struct RunContext {
    pub(super) shared: Arc<Context>,
    pub(super) session: Arc<Session>,
    pub(super) git_author: Option<GitAuthor>,
    pub(super) selector: ProcessSelector,
    pub(super) reporter: Reporter,
    pub(super) cancel: CancellationToken,
}

impl RunContext {
    pub(super) fn repo(&self) -> PathBuf {
        self.selector.dir.join("repo")
    }

    /// Creates the session's folders, and opens its log. On a machine with several users, writes who the
    /// session's commits are by.
    pub(super) async fn make_folders(&self) -> io::Result<Log> {
        let (dir, single_user) = (self.selector.dir.clone(), self.shared.settings.single_user);
        let max = self.shared.settings.limits.log_bytes;
        let author = self.git_author.clone().unwrap_or_else(|| GitAuthor::of(&self.session.owner));
        let made = tokio::task::spawn_blocking(move || {
            let names: &[&str] = match single_user {
                true => &["data/opencode", "state", "cache"],
                false => &["data/opencode", "state", "cache", "home"],
            };
            names.iter().try_for_each(|name| make_dir(&dir.join(name)))?;
            if !single_user {
                let config = author.system_config(SYSTEM_GIT_CONFIGS);
                write_atomic(&dir, GIT_CONFIG, config.as_bytes())?;
            }
            Log::open(&dir, max)
        });
        made.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Returns the last lines of the log, for a failure.
    pub(super) async fn log_tail(&self) -> Option<String> {
        let dir = self.selector.dir.clone();
        let tail = tokio::task::spawn_blocking(move || log::tail(&dir, TAIL_LINES)).await.ok()?.ok()?;
        (!tail.trim().is_empty()).then_some(tail)
    }
}

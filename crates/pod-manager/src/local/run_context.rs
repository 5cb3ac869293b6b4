//! What one run works with.

use std::{io, path::PathBuf, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{
    context::Context,
    files::make_dir,
    log::{self, Log},
    proc_table::ProcessSelector,
    report::Reporter,
};
use crate::model::Session;

/// How many lines of the log a failure holds.
const TAIL_LINES: usize = 30;

/// What one run works with.
pub(super) struct RunContext {
    pub(super) shared: Arc<Context>,
    pub(super) session: Arc<Session>,
    pub(super) selector: ProcessSelector,
    pub(super) reporter: Reporter,
    pub(super) cancel: CancellationToken,
}

impl RunContext {
    pub(super) fn repo(&self) -> PathBuf {
        self.selector.dir.join("repo")
    }

    /// Creates the session's folders, and opens its log.
    pub(super) async fn make_folders(&self) -> io::Result<Log> {
        let (dir, single_user) = (self.selector.dir.clone(), self.shared.settings.single_user);
        let max = self.shared.settings.limits.log_bytes;
        let made = tokio::task::spawn_blocking(move || {
            let names: &[&str] = match single_user {
                true => &["data/opencode", "state", "cache"],
                false => &["data/opencode", "state", "cache", "home"],
            };
            names.iter().try_for_each(|name| make_dir(&dir.join(name)))?;
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

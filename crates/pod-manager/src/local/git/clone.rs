//! Clones a session's repository, or refreshes the clone.

use std::{fs, io, path::Path, time::Duration};

use session_key::{GitRef, RepoUrl};

use super::command::Git;
use crate::{
    git_output::{checkout_failure, clone_failure},
    local::{
        failure::storage_failure,
        files::{is_dir, remove_tree, sync_dir},
        report::RunEnd,
    },
    model::{GitAuthor, Session, Source},
};

/// A clone has this name until it is complete, so that `repo` is never a part of one.
const PARTIAL: &str = "repo.partial";

/// What the preparation created.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// The empty commit that a new project begins with.
    pub(crate) first_commit: Option<String>,
}

/// Creates the session's repository, or refreshes an existing one without touching its user's work.
pub(crate) async fn prepare(
    mut git: Git,
    session: &Session,
    fetch_limit: Duration,
) -> Result<Prepared, RunEnd> {
    if is_dir(&git.repo()) {
        if let Source::Repository { branch, from, .. } = &session.source {
            git.prepare_ssh().await?;
            git.refresh(branch, from.as_ref(), fetch_limit).await?;
        }
        return Ok(Prepared::default());
    }
    let partial = git.session_dir.join(PARTIAL);
    git.remove(&partial).await?;
    let made = match &session.source {
        Source::Repository { url, branch, from } => git.clone_to(&partial, url, branch, from.as_ref()).await,
        Source::Empty => git.init(&partial, session).await,
    };
    match made {
        Ok(prepared) => {
            git.commit_clone(&partial).await?;
            Ok(prepared)
        }
        Err(end) => {
            // A part of a clone is of no use, and it may have filled the disk.
            let _ = git.remove(&partial).await;
            Err(end)
        }
    }
}

impl Git {
    async fn clone_to(
        &mut self,
        partial: &Path,
        url: &RepoUrl,
        branch: &GitRef,
        from: Option<&GitRef>,
    ) -> Result<Prepared, RunEnd> {
        self.prepare_ssh().await?;
        let args = [
            "clone",
            "--progress",
            "--no-checkout",
            "--no-recurse-submodules",
            "--origin",
            "origin",
            "--",
            url.as_str(),
            PARTIAL,
        ];
        let cloned = self.run(&self.session_dir, &args).await?;
        if !cloned.ok() {
            return Err(RunEnd::Failed(clone_failure(&cloned.errors, self.machine())));
        }
        self.first_checkout(partial, branch, from).await?;
        Ok(Prepared::default())
    }

    async fn init(&mut self, partial: &Path, session: &Session) -> Result<Prepared, RunEnd> {
        let dir = self.session_dir.clone();
        let branch = self.query(&dir, &["config", "--get", "init.defaultBranch"]).await?.line();
        let branch = branch.filter(|name| GitRef::parse(name).is_ok()).unwrap_or_else(|| "main".to_owned());
        let initial = format!("--initial-branch={branch}");
        let made = self.run(&dir, &["init", "--quiet", &initial, "--", PARTIAL]).await?;
        if !made.ok() {
            return Err(RunEnd::Failed(checkout_failure("a new project", &made.errors, self.machine())));
        }
        // With `user.useConfigOnly`, git does not derive an identity from the machine's names.
        let known =
            self.query(partial, &["-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT"]).await?;
        if !known.ok() {
            let author = GitAuthor::of(&session.owner);
            for (who, value) in [("NAME", author.name()), ("EMAIL", author.email())] {
                self.set(&format!("GIT_AUTHOR_{who}"), value);
                self.set(&format!("GIT_COMMITTER_{who}"), value);
            }
        }
        let commit =
            ["commit", "--quiet", "--allow-empty", "--no-verify", "--no-gpg-sign", "-m", "Initial commit"];
        let made = self.run(partial, &commit).await?;
        if !made.ok() {
            return Err(RunEnd::Failed(checkout_failure("a new project", &made.errors, self.machine())));
        }
        let first_commit = self.query(partial, &["rev-parse", "--verify", "HEAD"]).await?.line();
        Ok(Prepared { first_commit })
    }

    async fn remove(&self, path: &Path) -> Result<(), RunEnd> {
        let path = path.to_owned();
        blocking(move || remove_tree(&path))
            .await
            .map_err(|error| RunEnd::Failed(storage_failure("an incomplete clone can't be removed", &error)))
    }

    /// Makes a complete clone the session's repository.
    async fn commit_clone(&self, partial: &Path) -> Result<(), RunEnd> {
        let (partial, repo, dir) = (partial.to_owned(), self.repo(), self.session_dir.clone());
        blocking(move || fs::rename(&partial, &repo).and_then(|()| sync_dir(&dir)))
            .await
            .map_err(|error| RunEnd::Failed(storage_failure("the clone can't be renamed", &error)))
    }
}

/// Runs blocking work on files off the asynchronous threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

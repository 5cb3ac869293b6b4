//! Which branch is checked out, and when a clone is left as it is.

use std::{path::Path, time::Duration};

use session_key::GitRef;

use super::command::{Git, Output};
use crate::{
    git_output::{branch_not_found, checkout_failure},
    local::report::RunEnd,
};

/// Files and folders of the git directory that exist during an operation of several steps.
const IN_PROGRESS: [&str; 7] = [
    "MERGE_HEAD",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "BISECT_LOG",
    "rebase-merge",
    "rebase-apply",
    "sequencer",
];
/// Locks that would let a checkout fail half-way.
const LOCKS: [&str; 2] = ["index.lock", "HEAD.lock"];

/// How a branch is checked out.
#[derive(Debug, PartialEq, Eq)]
enum CheckoutPlan {
    /// The local branch exists.
    Local,
    /// The remote has the branch: it is created to track it.
    Remote,
    /// The branch is created from this ref.
    Create(String),
    /// The repository has no commit: the branch begins with the first one.
    Unborn,
    /// The branch to create it from does not exist.
    Missing,
}

/// The refspec is given here: one of the repository's own could overwrite or delete local branches.
const FETCH: [&str; 10] = [
    "fetch",
    "--progress",
    "--no-recurse-submodules",
    "--no-prune",
    "--no-prune-tags",
    "--refmap=",
    "--upload-pack=git-upload-pack",
    "--",
    "origin",
    "+refs/heads/*:refs/remotes/origin/*",
];
/// A stash does not count: it goes with its next `git stash pop`.
const HOLDERS: [&str; 6] =
    ["for-each-ref", "--count=1", "--contains=HEAD", "refs/heads", "refs/remotes", "refs/tags"];

impl Git {
    /// Checks the branch out in a new clone.
    pub(super) async fn first_checkout(
        &self,
        repo: &Path,
        branch: &GitRef,
        from: Option<&GitRef>,
    ) -> Result<(), RunEnd> {
        let plan = self.plan_checkout(repo, branch, from).await?;
        if plan == CheckoutPlan::Missing {
            return Err(RunEnd::Failed(branch_not_found(from.map(GitRef::as_str))));
        }
        let output = self.checkout(repo, branch, &plan).await?;
        match output.ok() {
            true => Ok(()),
            false => Err(RunEnd::Failed(checkout_failure(branch.as_str(), &output.errors, self.machine()))),
        }
    }

    /// Fetches, and checks the session's branch out if nothing can be lost by it. Otherwise the session
    /// starts with the files as they are, and the reason is reported.
    ///
    /// `git-init.sh` follows the same rules; one table of repository states tests both.
    pub(super) async fn refresh(
        &mut self,
        branch: &GitRef,
        from: Option<&GitRef>,
        limit: Duration,
    ) -> Result<(), RunEnd> {
        self.disable_programs().await?;
        let repo = self.repo();
        if let Some(reason) = self.reason_to_leave(&repo).await? {
            self.note(&format!("{reason}: the files are left as they are."));
            return Ok(());
        }
        match self.run_within(limit, &repo, &FETCH).await? {
            Some(output) if output.ok() => {}
            Some(_) => self.note("The remote is unreachable; continuing without it."),
            None => self.note("The remote did not answer in time; continuing without it."),
        }
        if self.holds_loose_commits(&repo).await? {
            self.note("The commits that are checked out are on no branch: the files are left as they are.");
            return Ok(());
        }
        let plan = self.plan_checkout(&repo, branch, from).await?;
        let head = self.query(&repo, &["symbolic-ref", "--quiet", "HEAD"]).await?.line();
        if plan == CheckoutPlan::Local && head.is_some_and(|head| head == format!("refs/heads/{branch}")) {
            return Ok(());
        }
        if plan == CheckoutPlan::Missing {
            self.note(&format!("The branch {branch} no longer exists: the files are left as they are."));
        } else if !self.checkout(&repo, branch, &plan).await?.ok() {
            self.note(&format!("The branch {branch} cannot be checked out: the files are left as they are."));
        }
        Ok(())
    }

    /// Why nothing in the repository may be touched; `None` if its tree is clean and nothing is in progress.
    async fn reason_to_leave(&self, repo: &Path) -> Result<Option<String>, RunEnd> {
        // `--no-optional-locks`: status does not write the index. The other options keep the repository's
        // configuration from hiding changes.
        let args = [
            "--no-optional-locks",
            "status",
            "--porcelain",
            "-z",
            "--untracked-files=normal",
            "--ignore-submodules=none",
        ];
        let status = self.query(repo, &args).await?;
        let git_dir = self.query(repo, &["rev-parse", "--absolute-git-dir"]).await?.line();
        let (true, Some(git_dir)) = (status.ok(), git_dir) else {
            return Ok(Some("git cannot read the repository".into()));
        };
        if !status.stdout.is_empty() {
            return Ok(Some("There are uncommitted changes".into()));
        }
        let exists = |name: &&str| Path::new(&git_dir).join(name).symlink_metadata().is_ok();
        if let Some(name) = IN_PROGRESS.into_iter().find(exists) {
            return Ok(Some(format!("A merge, rebase or the like is in progress ({name})")));
        }
        Ok(LOCKS.into_iter().find(exists).map(|name| format!("The repository is locked ({name})")))
    }

    /// Finds the branch (local, then remote), else the one to create it from, else the remote's default.
    async fn plan_checkout(
        &self,
        repo: &Path,
        branch: &GitRef,
        from: Option<&GitRef>,
    ) -> Result<CheckoutPlan, RunEnd> {
        if self.has(repo, &format!("refs/heads/{branch}")).await? {
            return Ok(CheckoutPlan::Local);
        }
        if self.has(repo, &format!("refs/remotes/origin/{branch}")).await? {
            return Ok(CheckoutPlan::Remote);
        }
        let sources = match from {
            Some(from) => vec![format!("refs/remotes/origin/{from}"), format!("refs/heads/{from}")],
            None => vec!["refs/remotes/origin/HEAD".to_owned()],
        };
        for source in sources {
            if self.has(repo, &source).await? {
                return Ok(CheckoutPlan::Create(source));
            }
        }
        let any = self.query(repo, &["for-each-ref", "--count=1", "--format=%(refname)"]).await?;
        Ok(if any.ok() && any.line().is_none() { CheckoutPlan::Unborn } else { CheckoutPlan::Missing })
    }

    async fn checkout(&self, repo: &Path, branch: &GitRef, plan: &CheckoutPlan) -> Result<Output, RunEnd> {
        let remote = format!("refs/remotes/origin/{branch}");
        let head = format!("refs/heads/{branch}");
        let name = branch.as_str();
        // `--no-overwrite-ignore`: an ignored file is in no commit.
        let mut args = vec!["checkout", "--progress", "--no-overwrite-ignore"];
        match plan {
            CheckoutPlan::Local => args.extend([name, "--"]),
            CheckoutPlan::Remote => args.extend(["--track", "-b", name, &remote, "--"]),
            CheckoutPlan::Create(source) => args.extend(["--no-track", "-b", name, source, "--"]),
            CheckoutPlan::Unborn | CheckoutPlan::Missing => args = vec!["symbolic-ref", "HEAD", &head],
        }
        self.run(repo, &args).await
    }

    async fn has(&self, repo: &Path, name: &str) -> Result<bool, RunEnd> {
        let commit = format!("{name}^{{commit}}");
        Ok(self.query(repo, &["rev-parse", "--verify", "--quiet", &commit]).await?.ok())
    }

    /// Whether HEAD is detached at a commit that is on no branch: nothing else would lead back to it.
    async fn holds_loose_commits(&self, repo: &Path) -> Result<bool, RunEnd> {
        let attached = self.query(repo, &["symbolic-ref", "--quiet", "HEAD"]).await?.ok();
        if attached || !self.has(repo, "HEAD").await? {
            return Ok(false);
        }
        let held = self.query(repo, &HOLDERS).await?;
        Ok(held.line().is_none())
    }
}

use std::{path::Path, time::Duration};

use session_key::GitRef;

use super::{Git, is_dir};
use crate::{
    local::run::Interrupted,
    model::{Failure, FailureCode},
};

/// Files and folders of `.git` that are there while something is under way.
const UNDER_WAY: [&str; 6] =
    ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "BISECT_LOG", "rebase-merge", "rebase-apply"];

/// How a branch is to be come by.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// It is there.
    Local,
    /// The remote has it.
    Remote,
    /// It is created from this.
    From(String),
    /// There is no commit at all: the branch is to be the first.
    Unborn,
    /// What it is to be created from is not there.
    Missing,
}

impl Git {
    /// Checks the branch out in a clone that was just made.
    pub(super) async fn first_checkout(
        &self,
        repo: &Path,
        branch: &GitRef,
        from: Option<&GitRef>,
    ) -> Result<(), Interrupted> {
        let way = self.way(repo, branch, from).await?;
        if way == Way::Missing {
            return Err(Interrupted::Failed(branch_not_found(from)));
        }
        let done = self.take(repo, branch, &way).await?;
        match done.ok() {
            true => Ok(()),
            false => Err(Interrupted::Failed(self.checkout_failure(branch.as_str(), &done))),
        }
    }

    /// Brings a clone that was there up to date. Whatever stands in the way is told, and the session starts
    /// with the files as they are: nothing here is worth losing work over, or not getting at it.
    pub(super) async fn refresh(
        &self,
        branch: &GitRef,
        from: Option<&GitRef>,
        limit: Duration,
    ) -> Result<(), Interrupted> {
        let repo = self.repo();
        // `--no-optional-locks`: the index is not written, so that nothing at all is touched.
        // And what is shown does not depend on what the user has set for their own eyes.
        let args = [
            "--no-optional-locks",
            "status",
            "--porcelain",
            "-z",
            "--untracked-files=normal",
            "--ignore-submodules=none",
        ];
        let status = self.ask(&repo, &args).await?;
        if !status.ok() {
            self.say("The folder is no git repository any more: it is left as it is.");
            return Ok(());
        }
        if !status.stdout.is_empty() {
            self.say("There are uncommitted changes: the files are left as they are.");
            return Ok(());
        }
        if UNDER_WAY.iter().any(|name| repo.join(".git").join(name).exists()) {
            self.say("A merge or rebase is under way: the files are left as they are.");
            return Ok(());
        }
        let fetch = ["fetch", "--progress", "--no-recurse-submodules", "--", "origin"];
        match self.run_within(limit, &repo, &fetch).await? {
            Some(done) if done.ok() => {}
            Some(_) => self.say("The remote could not be asked for news: going on with what is there."),
            None => self.say("The remote did not answer in time: going on with what is there."),
        }
        if self.holds_loose_commits(&repo).await? {
            self.say("Commits are checked out that no branch holds: the files are left as they are.");
            return Ok(());
        }
        let way = self.way(&repo, branch, from).await?;
        let there = self.ask(&repo, &["symbolic-ref", "--quiet", "HEAD"]).await?.line();
        if way == Way::Local && there.is_some_and(|head| head == format!("refs/heads/{branch}")) {
            return Ok(());
        }
        match way {
            Way::Missing => {
                self.say(&format!("{branch} is not there any more: the files are left as they are."));
            }
            Way::Unborn => {}
            way => {
                if !self.take(&repo, branch, &way).await?.ok() {
                    self.say(&format!("{branch} could not be checked out: the files are left as they are."));
                }
            }
        }
        Ok(())
    }

    /// The branch itself (local, then remote), else what it is created from, else the remote's default.
    async fn way(&self, repo: &Path, branch: &GitRef, from: Option<&GitRef>) -> Result<Way, Interrupted> {
        if self.has(repo, &format!("refs/heads/{branch}")).await? {
            return Ok(Way::Local);
        }
        if self.has(repo, &format!("refs/remotes/origin/{branch}")).await? {
            return Ok(Way::Remote);
        }
        let sources = match from {
            Some(from) => vec![format!("refs/remotes/origin/{from}"), format!("refs/heads/{from}")],
            None => vec!["refs/remotes/origin/HEAD".to_owned()],
        };
        for source in sources {
            if self.has(repo, &source).await? {
                return Ok(Way::From(source));
            }
        }
        let any = self.ask(repo, &["for-each-ref", "--count=1", "--format=%(refname)"]).await?;
        Ok(if any.ok() && any.line().is_none() { Way::Unborn } else { Way::Missing })
    }

    async fn take(&self, repo: &Path, branch: &GitRef, way: &Way) -> Result<super::Output, Interrupted> {
        let remote = format!("refs/remotes/origin/{branch}");
        let head = format!("refs/heads/{branch}");
        let name = branch.as_str();
        let args = match way {
            Way::Local => vec!["checkout", "--progress", name, "--"],
            Way::Remote => vec!["checkout", "--progress", "--track", "-b", name, &remote, "--"],
            Way::From(source) => vec!["checkout", "--progress", "--no-track", "-b", name, source, "--"],
            Way::Unborn | Way::Missing => vec!["symbolic-ref", "HEAD", &head],
        };
        self.run(repo, &args).await
    }

    async fn has(&self, repo: &Path, name: &str) -> Result<bool, Interrupted> {
        let commit = format!("{name}^{{commit}}");
        Ok(self.ask(repo, &["rev-parse", "--verify", "--quiet", &commit]).await?.ok())
    }

    /// Whether leaving the commit that is checked out would leave nothing that leads back to it.
    async fn holds_loose_commits(&self, repo: &Path) -> Result<bool, Interrupted> {
        debug_assert!(is_dir(repo));
        let attached = self.ask(repo, &["symbolic-ref", "--quiet", "HEAD"]).await?.ok();
        if attached || !self.has(repo, "HEAD").await? {
            return Ok(false);
        }
        let held = self.ask(repo, &["for-each-ref", "--count=1", "--contains=HEAD"]).await?;
        Ok(held.line().is_none())
    }
}

fn branch_not_found(from: Option<&GitRef>) -> Failure {
    let (message, advice) = match from {
        Some(from) => (
            format!(
                "The repository has no branch {from}, from which the session's branch was to be created."
            ),
            "Create the session again from a branch that is there.",
        ),
        None => (
            "The repository does not say which of its branches is the default one.".to_owned(),
            "Create the session again and name the branch to start from.",
        ),
    };
    Failure { code: FailureCode::BranchNotFound, message, advice: advice.to_owned(), log_tail: None }
}

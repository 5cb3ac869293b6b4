use std::{fs, path::Path};

use session_key::{GitRef, RepoUrl};

use super::{Git, blocking, is_dir, storage_failure};
use crate::{
    local::{
        run::Interrupted,
        settings::Limits,
        store::{remove_tree, sync_dir},
    },
    model::{Session, Source},
};

/// A clone is made under this name, and gets its own once it is whole: what is called `repo` is never half
/// of one.
const PARTIAL: &str = "repo.partial";

/// What was made, where something was.
#[derive(Debug, Default)]
pub(in super::super) struct Prepared {
    /// The empty commit that a new project begins with.
    pub(in super::super) first_commit: Option<String>,
}

/// Makes the session's repository, or brings the one that is there up to date as far as that is possible
/// without touching anybody's work.
pub(in super::super) async fn prepare(
    mut git: Git,
    session: &Session,
    limits: &Limits,
) -> Result<Prepared, Interrupted> {
    git.make_home(session).await?;
    if is_dir(&git.repo()) {
        if let Source::Repository { branch, from, .. } = &session.source {
            git.prepare_ssh().await?;
            git.refresh(branch, from.as_ref(), limits.fetch).await?;
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
            git.keep(&partial).await?;
            Ok(prepared)
        }
        Err(interrupted) => {
            // Nobody needs half of it, and it may be what filled the disk.
            let _ = git.remove(&partial).await;
            Err(interrupted)
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
    ) -> Result<Prepared, Interrupted> {
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
            return Err(Interrupted::Failed(self.clone_failure(&cloned)));
        }
        self.first_checkout(partial, branch, from).await?;
        Ok(Prepared::default())
    }

    async fn init(&mut self, partial: &Path, session: &Session) -> Result<Prepared, Interrupted> {
        let dir = self.session_dir.clone();
        let branch = self.ask(&dir, &["config", "--get", "init.defaultBranch"]).await?.line();
        let branch = branch.filter(|name| GitRef::parse(name).is_ok()).unwrap_or_else(|| "main".to_owned());
        let initial = format!("--initial-branch={branch}");
        let made = self.run(&dir, &["init", "--quiet", &initial, "--", PARTIAL]).await?;
        if !made.ok() {
            return Err(Interrupted::Failed(self.checkout_failure("a new project", &made)));
        }
        // With `user.useConfigOnly`, git does not make an identity up from the machine's names.
        let known =
            self.ask(partial, &["-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT"]).await?;
        if !known.ok() {
            let email = session.owner.email();
            for (who, value) in [("NAME", name_of(email)), ("EMAIL", email)] {
                self.set(&format!("GIT_AUTHOR_{who}"), value);
                self.set(&format!("GIT_COMMITTER_{who}"), value);
            }
        }
        let commit =
            ["commit", "--quiet", "--allow-empty", "--no-verify", "--no-gpg-sign", "-m", "Initial commit"];
        let made = self.run(partial, &commit).await?;
        if !made.ok() {
            return Err(Interrupted::Failed(self.checkout_failure("a new project", &made)));
        }
        let first_commit = self.ask(partial, &["rev-parse", "--verify", "HEAD"]).await?.line();
        Ok(Prepared { first_commit })
    }

    /// Where the session has a home of its own, makes it, with the owner's git identity.
    async fn make_home(&self, session: &Session) -> Result<(), Interrupted> {
        let home = self.session_dir.join("home");
        let config = home.join(".gitconfig");
        if self.own_machine || config.exists() || !is_dir(&home) {
            return Ok(());
        }
        let email = session.owner.email();
        for (key, value) in [("user.email", email), ("user.name", name_of(email))] {
            self.ask(&home, &["config", "--file", ".gitconfig", "--", key, value]).await?;
        }
        Ok(())
    }

    async fn remove(&self, path: &Path) -> Result<(), Interrupted> {
        let path = path.to_owned();
        blocking(move || remove_tree(&path))
            .await
            .map_err(|error| Interrupted::Failed(storage_failure("a half clone can't be removed", &error)))
    }

    /// What was made is whole: from now on it is the session's repository.
    async fn keep(&self, partial: &Path) -> Result<(), Interrupted> {
        let (partial, repo, dir) = (partial.to_owned(), self.repo(), self.session_dir.clone());
        blocking(move || fs::rename(&partial, &repo).and_then(|()| sync_dir(&dir)))
            .await
            .map_err(|error| Interrupted::Failed(storage_failure("the clone can't be kept", &error)))
    }
}

/// A name for git, from an address.
fn name_of(email: &str) -> &str {
    email.split_once('@').map_or(email, |(name, _)| name)
}

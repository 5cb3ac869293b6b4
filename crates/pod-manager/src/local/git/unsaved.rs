use std::time::Duration;

use tokio::time::timeout;

use super::{Git, is_dir};
use crate::{backend::UnsavedWork, local::run::Interrupted};

/// What is nowhere but in the session's repository; `None` where it can't be told, or not in time.
pub(in super::super) async fn unsaved_work(
    mut git: Git,
    first_commit: Option<&str>,
    limit: Duration,
) -> Option<UnsavedWork> {
    if !is_dir(&git.repo()) {
        // It was never cloned: there is nothing to lose.
        return Some(UnsavedWork { uncommitted_files: 0, unpushed_commits: 0 });
    }
    // Dropping it kills the git that is at work.
    timeout(limit, look(&mut git, first_commit)).await.ok()?.ok()?
}

async fn look(git: &mut Git, first_commit: Option<&str>) -> Result<Option<UnsavedWork>, Interrupted> {
    git.disable_programs().await?;
    let repo = git.repo();
    // `--no-optional-locks`: the session's own git may be at work at the same moment.
    let status = [
        "--no-optional-locks",
        "status",
        "--porcelain",
        "-z",
        "--untracked-files=all",
        "--ignore-submodules=none",
    ];
    let status = git.ask(&repo, &status).await?;
    if !status.ok() {
        return Ok(None);
    }
    let mut commits = vec!["rev-list", "--count", "--ignore-missing", "--branches"];
    if git.ask(&repo, &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).await?.ok() {
        commits.push("HEAD");
    }
    commits.extend(["--not", "--remotes"]);
    commits.extend(first_commit);
    let Some(unpushed) = git.ask(&repo, &commits).await?.line().and_then(|count| count.parse::<u32>().ok())
    else {
        return Ok(None);
    };
    let stashes = git.ask(&repo, &["stash", "list", "--format=%H"]).await?;
    let stashes = stashes.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    Ok(Some(UnsavedWork {
        uncommitted_files: files(&status.stdout),
        unpushed_commits: unpushed.saturating_add(u32::try_from(stashes).unwrap_or(u32::MAX)),
    }))
}

/// Counts the files of `git status --porcelain -z`.
fn files(status: &[u8]) -> u32 {
    let mut count = 0;
    let mut entries = status.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
    while let Some(entry) = entries.next() {
        count += 1;
        // A rename or a copy is followed by the name it had.
        if entry.iter().take(2).any(|code| matches!(code, b'R' | b'C')) {
            entries.next();
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_once_each() {
        assert_eq!(files(b""), 0);
        assert_eq!(files(b" M a\0?? b c\0"), 2);
        assert_eq!(files(b"R  new\0old\0 M x\0C  copy\0orig\0"), 3);
    }
}

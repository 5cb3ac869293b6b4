//! What deleting a session would lose.

use std::time::Duration;

use tokio::time::timeout;

use super::command::Git;
use crate::{
    backend::UnsavedWork,
    local::{files::is_dir, report::RunEnd},
};

/// Counts the work that exists only in the session's repository; returns `None` if git fails or takes too
/// long.
pub(crate) async fn unsaved_work(
    mut git: Git,
    first_commit: Option<&str>,
    limit: Duration,
) -> Option<UnsavedWork> {
    if !is_dir(&git.repo()) {
        // Never cloned.
        return Some(UnsavedWork { uncommitted_files: 0, unpushed_commits: 0 });
    }
    // Dropping the future kills git.
    timeout(limit, count_work(&mut git, first_commit)).await.ok()?.ok()?
}

async fn count_work(git: &mut Git, first_commit: Option<&str>) -> Result<Option<UnsavedWork>, RunEnd> {
    git.disable_programs().await?;
    let repo = git.repo();
    // `--no-optional-locks`: the session's own git may run at the same time.
    let status = [
        "--no-optional-locks",
        "status",
        "--porcelain",
        "-z",
        "--untracked-files=all",
        "--ignore-submodules=none",
    ];
    let status = git.query(&repo, &status).await?;
    if !status.ok() {
        return Ok(None);
    }
    let mut commits = vec!["rev-list", "--count", "--ignore-missing", "--branches"];
    if git.query(&repo, &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).await?.ok() {
        commits.push("HEAD");
    }
    commits.extend(["--not", "--remotes"]);
    commits.extend(first_commit);
    let Some(unpushed) = git.query(&repo, &commits).await?.line().and_then(|count| count.parse::<u32>().ok())
    else {
        return Ok(None);
    };
    let stashes = git.query(&repo, &["stash", "list", "--format=%H"]).await?;
    let stashes = stashes.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    Ok(Some(UnsavedWork {
        uncommitted_files: count_files(&status.stdout),
        unpushed_commits: unpushed.saturating_add(u32::try_from(stashes).unwrap_or(u32::MAX)),
    }))
}

/// Counts the files of `git status --porcelain -z`.
fn count_files(status: &[u8]) -> u32 {
    let mut count = 0;
    let mut entries = status.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
    while let Some(entry) = entries.next() {
        count += 1;
        // A rename or a copy is followed by its old name.
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
    fn each_file_is_counted_once() {
        assert_eq!(count_files(b""), 0);
        assert_eq!(count_files(b" M a\0?? b c\0"), 2);
        assert_eq!(count_files(b"R  new\0old\0 M x\0C  copy\0orig\0"), 3);
    }
}

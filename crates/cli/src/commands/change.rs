//! stop, resume, delete.

use std::io::{BufRead, IsTerminal, Write};

use api::wire::{Session, State, UnsavedWork};

use super::Context;
use crate::{failure::Failure, terminal::harmless};

impl Context {
    pub(super) async fn stop(&self, names: &[String]) -> Result<(), Failure> {
        for hash in self.pick_all(names).await? {
            let now = self.reach.stop(hash).await?;
            let what = match now {
                State::Stopped => "is stopped",
                State::Failed => "has failed, and is not tried again",
                _ => "is stopping",
            };
            self.terminal.say(format_args!("Session {hash} {what}; its files are kept."));
            self.print_done(hash).await?;
        }
        Ok(())
    }

    pub(super) async fn resume(&self, names: &[String], wait: bool) -> Result<(), Failure> {
        let hashes = self.pick_all(names).await?;
        for &hash in &hashes {
            let now = self.reach.resume(hash).await?;
            let what = if now == State::Running { "runs" } else { "is starting" };
            self.terminal.say(format_args!("Session {hash} {what}."));
        }
        for hash in hashes {
            if wait {
                self.wait(hash).await?;
            }
            self.print_done(hash).await?;
        }
        Ok(())
    }

    pub(super) async fn delete(&self, names: &[String], yes: bool) -> Result<(), Failure> {
        let hashes = self.pick_all(names).await?;
        if !yes && !std::io::stdin().is_terminal() {
            let message = "nobody can be asked whether to delete: standard input is no terminal";
            return Err(
                Failure::new(Failure::USAGE, message).hint("To delete without being asked, add --yes.")
            );
        }
        for hash in hashes {
            if !yes {
                let (session, work) = (self.reach.get(hash).await?, self.reach.work(hash).await?);
                let mut input = std::io::stdin().lock();
                if !confirm(
                    &mut input,
                    &mut std::io::stderr(),
                    &question(&session, work, self.reach.is_everyones()),
                )? {
                    return Err(Failure::new(Failure::ERROR, format!("session {hash} was not deleted")));
                }
            }
            let what = if self.reach.delete(hash).await? {
                "is deleted"
            } else {
                "is being deleted: its volume goes once its Pod has ended"
            };
            self.terminal.say(format_args!("Session {hash} {what}."));
            self.terminal.print(hash)?;
        }
        Ok(())
    }
}

fn question(session: &Session, work: UnsavedWork, everyone: bool) -> String {
    let repository = session.repo_url.as_deref().unwrap_or("a new project");
    let branch = session.branch.as_deref().map(|branch| format!(", branch {branch}")).unwrap_or_default();
    let whose = if everyone { format!(" of {}", session.email) } else { String::new() };
    let name = harmless(&format!("{}{whose} ({repository}{branch})", session.hash), false);
    format!("{}\nDelete session {name} and all of its files?", loss(work))
}

/// What would be lost, in words.
fn loss(work: UnsavedWork) -> String {
    let count = |count: u32, one: &str, more: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {more}")),
    };
    let files = count(work.uncommitted_files, "file that is not committed", "files that are not committed");
    let commits = count(work.unpushed_commits, "commit that no remote has", "commits that no remote has");
    match (work.known, files, commits) {
        (false, ..) => "What would be lost can't be told.".to_owned(),
        (true, None, None) => "All of its work is committed and pushed.".to_owned(),
        (true, Some(only), None) | (true, None, Some(only)) => format!("It would lose {only}."),
        (true, Some(files), Some(commits)) => format!("It would lose {files}, and {commits}."),
    }
}

/// Asks; only a clear yes is one.
fn confirm(input: &mut impl BufRead, output: &mut impl Write, question: &str) -> Result<bool, Failure> {
    write!(output, "{question} [y/N] ")?;
    output.flush()?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        for (answer, expected) in
            [("y\n", true), (" YES \n", true), ("\n", false), ("", false), ("n\n", false), ("yep\n", false)]
        {
            let mut asked = Vec::new();
            let got = confirm(&mut answer.as_bytes(), &mut asked, "Delete?").expect("an answer");
            assert_eq!(got, expected, "{answer:?}");
            assert_eq!(asked, b"Delete? [y/N] ");
        }
    }

    #[test]
    fn what_would_be_lost_is_counted_in_words() {
        let check = |known, uncommitted_files, unpushed_commits, expected: &str| {
            assert_eq!(loss(UnsavedWork { known, uncommitted_files, unpushed_commits }), expected);
        };
        check(false, 0, 0, "What would be lost can't be told.");
        check(true, 0, 0, "All of its work is committed and pushed.");
        check(true, 1, 0, "It would lose 1 file that is not committed.");
        check(true, 0, 2, "It would lose 2 commits that no remote has.");
        check(true, 3, 1, "It would lose 3 files that are not committed, and 1 commit that no remote has.");
    }
}

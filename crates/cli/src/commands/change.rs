//! stop, resume and delete.

use std::io::{BufRead, IsTerminal, Write};

use api::wire::{State, UnsavedWork};

use super::Context;
use crate::{error::CliError, report::SessionReport, terminal::sanitize_line};

impl Context {
    pub(super) async fn stop(&self, names: &[String]) -> Result<(), CliError> {
        for hash in self.pick_all(names).await? {
            let outcome = match self.target.stop(hash).await? {
                State::Stopped => "is stopped",
                State::Failed => "has failed and is not started again",
                _ => "is stopping",
            };
            self.terminal.note(format_args!("Session {hash} {outcome}; its files are kept."));
            self.print_result(hash).await?;
        }
        Ok(())
    }

    pub(super) async fn resume(&self, names: &[String], wait: bool) -> Result<(), CliError> {
        let hashes = self.pick_all(names).await?;
        for &hash in &hashes {
            let state = self.target.resume(hash).await?;
            let outcome = if state == State::Running { "is running" } else { "is starting" };
            self.terminal.note(format_args!("Session {hash} {outcome}."));
        }
        for hash in hashes {
            if wait {
                self.wait(hash).await?;
            }
            self.print_result(hash).await?;
        }
        Ok(())
    }

    pub(super) async fn delete(&self, names: &[String], yes: bool) -> Result<(), CliError> {
        let hashes = self.pick_all(names).await?;
        if !yes && !std::io::stdin().is_terminal() {
            let message = "the deletion can't be confirmed: standard input is not a terminal";
            return Err(
                CliError::new(CliError::USAGE, message).hint("To delete without a question, add --yes.")
            );
        }
        for hash in hashes {
            if !yes {
                let (session, work) = (self.target.get(hash).await?, self.target.unsaved_work(hash).await?);
                let question = question(&session, work, self.target.has_all_users());
                if !confirm(&mut std::io::stdin().lock(), &mut std::io::stderr(), &question)? {
                    return Err(CliError::new(CliError::ERROR, format!("session {hash} was not deleted")));
                }
            }
            let outcome = if self.target.delete(hash).await? {
                "is deleted"
            } else {
                "is being deleted: its volume is removed once its Pod has ended"
            };
            self.terminal.note(format_args!("Session {hash} {outcome}."));
            self.terminal.print(hash)?;
        }
        Ok(())
    }
}

fn question(session: &SessionReport, work: UnsavedWork, with_owner: bool) -> String {
    let repository = session.repo_url.as_deref().unwrap_or("a new project");
    let branch = session.branch.as_deref().map(|branch| format!(", branch {branch}")).unwrap_or_default();
    let owner = if with_owner { format!(" of {}", session.email) } else { String::new() };
    let name = sanitize_line(&format!("{}{owner} ({repository}{branch})", session.hash));
    format!("{}\nDelete session {name} and all of its files?", describe_loss(work))
}

/// Describes the work that a deletion would lose.
fn describe_loss(work: UnsavedWork) -> String {
    let count = |count: u32, singular: &str, plural: &str| match count {
        0 => None,
        1 => Some(format!("1 {singular}")),
        count => Some(format!("{count} {plural}")),
    };
    let files = count(work.uncommitted_files, "uncommitted file", "uncommitted files");
    let commits = count(work.unpushed_commits, "commit that is not pushed", "commits that are not pushed");
    match (work.known, files, commits) {
        (false, ..) => "It is unknown whether the session has unsaved work.".to_owned(),
        (true, None, None) => "All work in the session is committed and pushed.".to_owned(),
        (true, Some(only), None) | (true, None, Some(only)) => format!("Deleting loses {only}."),
        (true, Some(files), Some(commits)) => format!("Deleting loses {files} and {commits}."),
    }
}

/// Asks a question. Returns true only for `y` or `yes`.
pub(super) fn confirm(
    input: &mut impl BufRead,
    output: &mut impl Write,
    question: &str,
) -> Result<bool, CliError> {
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
    fn only_yes_confirms() {
        for (answer, expected) in
            [("y\n", true), (" YES \n", true), ("\n", false), ("", false), ("n\n", false), ("yep\n", false)]
        {
            let mut output = Vec::new();
            let confirmed = confirm(&mut answer.as_bytes(), &mut output, "Delete?").expect("an answer");
            assert_eq!(confirmed, expected, "{answer:?}");
            assert_eq!(output, b"Delete? [y/N] ");
        }
    }

    #[test]
    fn lost_work_is_counted_in_words() {
        let check = |known, uncommitted_files, unpushed_commits, expected: &str| {
            assert_eq!(describe_loss(UnsavedWork { known, uncommitted_files, unpushed_commits }), expected);
        };
        check(false, 0, 0, "It is unknown whether the session has unsaved work.");
        check(true, 0, 0, "All work in the session is committed and pushed.");
        check(true, 1, 0, "Deleting loses 1 uncommitted file.");
        check(true, 0, 2, "Deleting loses 2 commits that are not pushed.");
        check(true, 3, 1, "Deleting loses 3 uncommitted files and 1 commit that is not pushed.");
    }
}

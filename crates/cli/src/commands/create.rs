//! create.

use std::{
    io::{IsTerminal, Read},
    path::Path,
};

use api::wire::{CreateSession, State};

use super::Context;
use crate::{args::CreateArgs, error::CliError};

impl Context {
    pub(super) async fn create(&self, args: CreateArgs) -> Result<(), CliError> {
        let CreateArgs { repo, branch, from, message, empty: _, wait, open, browser } = args;
        let request = CreateSession {
            repo_url: repo.map(|repo| repo_address(&repo)).transpose()?,
            branch,
            source_branch: from,
            initial_message: message.map(read_message).transpose()?,
        };
        let client = self.router("create")?;
        let created = client.create(&request).await?;
        let hash = created.session.hash;
        let outcome = match (created.new, created.session.state) {
            (true, _) => "was created and is starting",
            (false, State::Running) => "exists already and is running",
            (false, _) => "exists already and is starting",
        };
        self.terminal.note(format_args!("Session {hash} {outcome}."));
        if request.initial_message.is_some() && !created.new {
            self.terminal.note("The message was not sent: only a new session takes a first message.");
        }
        let url = if open || wait { Some(self.wait_for_url(client, hash).await?) } else { None };
        self.print_result(hash).await?;
        match url {
            Some(url) if open => self.open_url(&url, &browser).await,
            _ => Ok(()),
        }
    }
}

/// Returns the repository's address as the router needs it: a relative path becomes absolute.
fn repo_address(repo: &str) -> Result<String, CliError> {
    let is_relative = repo == "." || repo == ".." || repo.starts_with("./") || repo.starts_with("../");
    if !is_relative {
        return Ok(repo.to_owned());
    }
    let path_error =
        |cause: &str| CliError::new(CliError::USAGE, format!("the folder {repo:?} can't be used: {cause}"));
    let path = Path::new(repo).canonicalize().map_err(|error| path_error(&error.to_string()))?;
    path.into_os_string().into_string().map_err(|_| path_error("its path is not UTF-8"))
}

/// Returns the first message: the argument, or standard input if the argument is `-`.
fn read_message(arg: String) -> Result<String, CliError> {
    if arg != "-" {
        return Ok(arg);
    }
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() {
        // Printed with `--quiet` too: without it, the program would seem to hang.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"Write the message, then press Ctrl-D.\n");
    }
    let mut message = String::new();
    stdin.read_to_string(&mut message)?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::repo_address;

    #[test]
    fn only_relative_paths_are_resolved() {
        let current = std::env::current_dir().expect("a folder").canonicalize().expect("a folder");
        assert_eq!(repo_address(".").expect("a folder"), current.to_str().expect("UTF-8"));
        for unchanged in ["https://h.example/o/n", "git@h.example:o/n", "/srv/repo", ".hidden"] {
            assert_eq!(repo_address(unchanged).expect(unchanged), unchanged);
        }
        assert_eq!(repo_address("./not/there").expect_err("no folder").exit_code, 2);
    }
}

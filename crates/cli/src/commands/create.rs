use std::{
    io::{IsTerminal, Read},
    path::Path,
};

use api::wire::{CreateSession, State};

use super::Context;
use crate::{args::Create, failure::Failure};

impl Context {
    pub(super) async fn create(&self, asked: Create) -> Result<(), Failure> {
        let Create { repo, branch, from, message, empty: _, wait, open, browser } = asked;
        let asked = CreateSession {
            repo_url: repo.map(|repo| address(&repo)).transpose()?,
            branch,
            source_branch: from,
            initial_message: message.map(given_message).transpose()?,
        };
        let client = self.router("create")?;
        let made = client.create(&asked).await?;
        let hash = made.session.hash;
        let what = match (made.new, made.session.state) {
            (true, _) => "was made and is starting",
            (false, State::Running) => "was there already, and runs",
            (false, _) => "was there already, and is starting",
        };
        self.terminal.say(format_args!("Session {hash} {what}."));
        if asked.initial_message.is_some() && !made.new {
            self.terminal.say("The message was not sent: a session gets its first message when it is made.");
        }
        let opened = if open || wait { Some(self.wait_for_url(client, hash).await?) } else { None };
        self.print_done(hash).await?;
        match opened {
            Some(url) if open => self.open_url(&url, &browser).await,
            _ => Ok(()),
        }
    }
}

/// The repository as the router needs it: a folder named from here becomes one named from the root.
fn address(repo: &str) -> Result<String, Failure> {
    let relative = repo == "." || repo == ".." || repo.starts_with("./") || repo.starts_with("../");
    if !relative {
        return Ok(repo.to_owned());
    }
    let refuse =
        |why: &str| Failure::new(Failure::USAGE, format!("{repo:?} is no folder to clone from: {why}"));
    let path = Path::new(repo).canonicalize().map_err(|why| refuse(&why.to_string()))?;
    path.into_os_string().into_string().map_err(|_| refuse("its name is not UTF-8"))
}

fn given_message(text: String) -> Result<String, Failure> {
    if text != "-" {
        return Ok(text);
    }
    let mut input = std::io::stdin();
    if input.is_terminal() {
        // Not silence: the program waits for a person who may not know it.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"Write the message, then press Ctrl-D.\n");
    }
    let mut text = String::new();
    input.read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn only_what_is_named_from_here_is_a_folder() {
        let here = std::env::current_dir().expect("a folder").canonicalize().expect("a folder");
        assert_eq!(address(".").expect("a folder"), here.to_str().expect("UTF-8"));
        for same in ["https://h.example/o/n", "git@h.example:o/n", "/srv/repo", ".hidden"] {
            assert_eq!(address(same).expect(same), same);
        }
        assert_eq!(address("./not/there").expect_err("no folder").code, 2);
    }
}

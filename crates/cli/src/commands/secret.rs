//! secret: lists, sets and deletes the user's secrets. A value is never an argument: others could read it in
//! the process list, and the shell would remember it.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use api::wire::{SecretNames, SecretText};

use super::{Context, change::confirm};
use crate::{args::SecretCommand, error::CliError, terminal::sanitize_line};

/// The longest value that is read, in bytes. The router's own limit is lower, and its error says it.
const MAX_BYTES: u64 = 1024 * 1024;

impl Context {
    pub(super) async fn secret(&self, command: SecretCommand) -> Result<(), CliError> {
        let client = self.router("secret")?;
        match command {
            SecretCommand::List => {
                let names = client.secrets().await?;
                self.print_names(&names)?;
                if !names.has_secret {
                    let program = &self.program;
                    self.terminal
                        .note(format_args!("You have no secrets. Set one: {program} secret set <NAME>"));
                }
            }
            SecretCommand::Set { name } => {
                let value = read_value(&name)?;
                client.set_secret(&name, value).await?;
                self.note_change(format_args!("Secret {name} is set"));
            }
            SecretCommand::Delete { names } => {
                for name in names {
                    client.delete_secret(&name).await?;
                    self.note_change(format_args!("Secret {} is deleted", sanitize_line(&name)));
                }
            }
            SecretCommand::Clear { yes } => {
                let SecretNames { keys, .. } = client.secrets().await?;
                if !keys.is_empty() && !yes {
                    confirm_clear(&keys)?;
                }
                client.delete_secrets().await?;
                self.note_change(format_args!("All of your secrets are deleted"));
            }
        }
        Ok(())
    }

    fn print_names(&self, names: &SecretNames) -> Result<(), CliError> {
        let lines = || names.keys.iter().map(|name| sanitize_line(name) + "\n").collect();
        self.terminal.print_value(names, lines)
    }

    fn note_change(&self, what: std::fmt::Arguments<'_>) {
        self.terminal.note(format_args!("{what}. Running sessions change at their next start."));
    }
}

fn confirm_clear(names: &[String]) -> Result<(), CliError> {
    if !io::stdin().is_terminal() {
        let message = "the deletion can't be confirmed: standard input is not a terminal";
        return Err(CliError::new(CliError::USAGE, message).hint("To delete without a question, add --yes."));
    }
    let question = format!("Delete all of your secrets ({})?", sanitize_line(&names.join(", ")));
    if confirm(&mut io::stdin().lock(), &mut io::stderr(), &question)? {
        return Ok(());
    }
    Err(CliError::new(CliError::ERROR, "no secret was deleted"))
}

/// Reads a value: from the terminal, which does not show it, else all of standard input.
fn read_value(name: &str) -> Result<SecretText, CliError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        let mut stderr = io::stderr();
        write!(stderr, "Value of {}: ", sanitize_line(name))?;
        stderr.flush()?;
        let line = {
            let _hidden = HiddenInput::new();
            let mut line = String::new();
            stdin.lock().take(MAX_BYTES).read_line(&mut line)?;
            line
        };
        writeln!(stderr)?;
        let value = without_line_end(line);
        if value.is_empty() {
            return Err(CliError::new(CliError::ERROR, "no value was entered, and nothing was changed"));
        }
        return Ok(SecretText::new(value));
    }
    let mut bytes = Vec::new();
    stdin.lock().take(MAX_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        CliError::new(CliError::USAGE, "the value on standard input is not text in UTF-8")
            .hint("Encode binary data as text, with base64 for example.")
    })?;
    Ok(SecretText::new(without_line_end(text)))
}

/// Removes the line end of a single line, which `echo` adds. Several lines stay as they are: a key file needs
/// its last line end.
fn without_line_end(mut text: String) -> String {
    if text.matches('\n').count() == 1 && text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

/// While it exists, the terminal does not show what is typed.
struct HiddenInput {
    #[cfg(unix)]
    before: Option<nix::sys::termios::Termios>,
}

#[cfg(unix)]
impl HiddenInput {
    fn new() -> Self {
        use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut hidden = before.clone();
            hidden.local_flags.remove(LocalFlags::ECHO);
            let _ = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &hidden);
        }
        Self { before }
    }
}

#[cfg(unix)]
impl Drop for HiddenInput {
    fn drop(&mut self) {
        use nix::sys::termios::{SetArg, tcsetattr};
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

#[cfg(not(unix))]
impl HiddenInput {
    fn new() -> Self {
        Self {}
    }
}

#[cfg(test)]
mod tests {
    use super::without_line_end;

    #[test]
    fn only_the_line_end_of_a_single_line_is_removed() {
        for (text, expected) in [
            ("token\n", "token"),
            ("token\r\n", "token"),
            ("token", "token"),
            ("\n", ""),
            (" token \n", " token "),
            ("-----BEGIN-----\nabc\n-----END-----\n", "-----BEGIN-----\nabc\n-----END-----\n"),
            ("a\nb", "a\nb"),
        ] {
            assert_eq!(without_line_end(text.to_owned()), expected, "{text:?}");
        }
    }
}

//! What each command does.

mod browser;
mod change;
mod create;
mod logs;
mod wait;

use api::{client::Client, wire::Session};
use clap_complete::Shell;
use jiff::Timestamp;
use session_key::SessionHash;

use crate::{
    args::{Command, Output},
    failure::Failure,
    help, pick, table,
    terminal::Terminal,
};

/// What every command stands on.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) terminal: Terminal,
    /// What the program is called, for advice.
    pub(crate) name: String,
}

pub(crate) async fn run(command: Command, context: &Context) -> Result<(), Failure> {
    match command {
        Command::List => context.list().await,
        Command::Show { session } => {
            let hash = context.pick(&session.name).await?;
            let session = context.client.get(hash).await?;
            context.print_session(&session)
        }
        Command::Create(asked) => context.create(asked).await,
        Command::Stop { sessions } => context.stop(&sessions.names).await,
        Command::Resume { sessions, wait } => context.resume(&sessions.names, wait).await,
        Command::Delete { sessions, yes } => context.delete(&sessions.names, yes).await,
        Command::Logs { session, lines, follow } => context.logs(&session.name, lines.into(), follow).await,
        Command::Open { session, print, browser } => context.open(&session.name, print, &browser).await,
        Command::Completions { shell } => completions(shell, &context.name),
    }
}

impl Context {
    async fn list(&self) -> Result<(), Failure> {
        let list = self.client.list().await?;
        let terminal = &self.terminal;
        let wide = terminal.output == Output::Wide;
        terminal.print_as(&list, || {
            table::sessions(&list, wide, terminal.tty && terminal.colour, Timestamp::now())
        })?;
        if list.sessions.is_empty() {
            terminal.say(format_args!("You have no sessions. Make one: {} create <REPO>", self.name));
        }
        Ok(())
    }

    async fn pick(&self, name: &str) -> Result<SessionHash, Failure> {
        pick::hash(&self.client, name, &self.name).await
    }

    async fn pick_all(&self, names: &[String]) -> Result<Vec<SessionHash>, Failure> {
        pick::hashes(&self.client, names, &self.name).await
    }

    fn print_session(&self, session: &Session) -> Result<(), Failure> {
        let colour = self.terminal.tty && self.terminal.colour;
        self.terminal.print_as(session, || table::session(session, colour, Timestamp::now()))
    }

    /// Prints which session something was done to: its key for scripts, or all that is known of it now.
    async fn print_done(&self, hash: SessionHash) -> Result<(), Failure> {
        match self.terminal.output {
            Output::Table | Output::Wide => self.terminal.print(hash),
            Output::Json | Output::Yaml => self.print_session(&self.client.get(hash).await?),
        }
    }
}

/// Writes a shell's completion script.
pub(crate) fn completions(shell: Shell, name: &str) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut help::command(name), name, &mut script);
    std::io::Write::write_all(&mut std::io::stdout().lock(), &script)?;
    Ok(())
}

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
    help, pick,
    reach::Reach,
    table,
    terminal::{Terminal, harmless},
};

/// What every command stands on.
pub(crate) struct Context {
    pub(crate) reach: Reach,
    pub(crate) terminal: Terminal,
    /// What the program is called, for advice.
    pub(crate) name: String,
}

pub(crate) async fn run(command: Command, context: &Context) -> Result<(), Failure> {
    match command {
        Command::List { user } => context.list(user.as_deref()).await,
        Command::Show { session } => {
            let hash = context.pick(&session.name).await?;
            let session = context.reach.get(hash).await?;
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
    async fn list(&self, user: Option<&str>) -> Result<(), Failure> {
        if user.is_some() && !self.reach.is_everyones() {
            let failure = Failure::new(Failure::USAGE, "a router shows nobody's sessions but your own");
            return Err(failure.hint("With --kube, --user picks one user's of all in the cluster."));
        }
        let mut list = self.reach.list().await?;
        if let Some(user) = user {
            let user = user.trim().to_lowercase();
            list.sessions.retain(|session| session.email == user);
        }
        let printed = self.reach.printed(&list)?;
        self.terminal.print_as(&printed, || table::sessions(&list, self.look(), Timestamp::now()))?;
        if list.sessions.is_empty() {
            match &self.reach {
                Reach::Router(_) => self
                    .terminal
                    .say(format_args!("You have no sessions. Make one: {} create <REPO>", self.name)),
                Reach::Cluster(cluster) => {
                    let whose = user.map(|user| format!(" of {}", harmless(user, false))).unwrap_or_default();
                    let namespace = cluster.namespace();
                    self.terminal.say(format_args!(
                        "There are no sessions{whose} in the namespace {namespace}; --namespace names another."
                    ));
                }
            }
        }
        Ok(())
    }

    /// The router's client; a failure where the cluster itself is asked, which can't do everything.
    fn router(&self, what: &str) -> Result<&Client, Failure> {
        match &self.reach {
            Reach::Router(client) => Ok(client),
            Reach::Cluster(_) => {
                let message =
                    format!("{what} takes the router, which alone knows how: the cluster can't be asked");
                let hint =
                    format!("Leave out --kube: {} {what} … --server https://<the router's site>", self.name);
                Err(Failure::new(Failure::USAGE, message).hint(hint))
            }
        }
    }

    /// How tables look.
    fn look(&self) -> table::Look {
        table::Look {
            wide: self.terminal.output == Output::Wide,
            colour: self.terminal.tty && self.terminal.colour,
            everyone: self.reach.is_everyones(),
        }
    }

    async fn pick(&self, name: &str) -> Result<SessionHash, Failure> {
        pick::hash(&self.reach, name, &self.name).await
    }

    async fn pick_all(&self, names: &[String]) -> Result<Vec<SessionHash>, Failure> {
        pick::hashes(&self.reach, names, &self.name).await
    }

    fn print_session(&self, session: &Session) -> Result<(), Failure> {
        let printed = self.reach.printed(session)?;
        self.terminal.print_as(&printed, || table::session(session, self.look(), Timestamp::now()))
    }

    /// Prints which session something was done to: its key for scripts, or all that is known of it now.
    async fn print_done(&self, hash: SessionHash) -> Result<(), Failure> {
        match self.terminal.output {
            Output::Table | Output::Wide => self.terminal.print(hash),
            Output::Json | Output::Yaml => self.print_session(&self.reach.get(hash).await?),
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

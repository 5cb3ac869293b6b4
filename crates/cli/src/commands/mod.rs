//! The commands, a function for each.

mod attach;
mod browser;
mod change;
mod create;
mod logs;
mod messages;
mod secret;
mod wait;

use api::client::Client;
use clap_complete::Shell;
use jiff::Timestamp;
use session_key::SessionHash;

use crate::{
    args::{Command, OutputFormat},
    error::CliError,
    help, pick,
    report::SessionReport,
    table,
    target::Target,
    terminal::{Terminal, sanitize_line},
};

/// What the commands share.
pub(crate) struct Context {
    pub(crate) target: Target,
    pub(crate) terminal: Terminal,
    /// The program's name as the user typed it, for hints.
    pub(crate) program: String,
}

pub(crate) async fn run(command: Command, context: &Context) -> Result<(), CliError> {
    match command {
        Command::List { user } => context.list(user.as_deref()).await,
        Command::Show { session } => {
            let hash = context.pick(&session.name).await?;
            context.print_session(&context.target.get(hash).await?)
        }
        Command::Create(args) => context.create(args).await,
        Command::Stop { sessions } => context.stop(&sessions.names).await,
        Command::Resume { sessions, wait } => context.resume(&sessions.names, wait).await,
        Command::Delete { sessions, yes } => context.delete(&sessions.names, yes).await,
        Command::Logs { session, lines, follow } => context.logs(&session.name, lines.into(), follow).await,
        Command::Messages { session, follow } => context.messages(&session.name, follow).await,
        Command::Attach(args) => context.attach(args).await,
        Command::Open { session, print, browser } => context.open(&session.name, print, &browser).await,
        Command::Secret { command } => context.secret(command).await,
        Command::Completions { shell } => completions(shell, &context.program),
    }
}

impl Context {
    async fn list(&self, user: Option<&str>) -> Result<(), CliError> {
        if user.is_some() && !self.target.has_all_users() {
            let error =
                CliError::new(CliError::USAGE, "--user needs --all or --kube: these are your own sessions");
            return Err(error.hint("To choose among the sessions of all users, add --all or --kube."));
        }
        let mut list = self.target.list().await?;
        if let Some(user) = user {
            let user = user.trim().to_lowercase();
            list.sessions.retain(|session| session.email == user);
        }
        self.terminal.print_value(&list, || table::sessions(&list, self.table_style(), Timestamp::now()))?;
        if list.sessions.is_empty() {
            let owner = user.map(|user| format!(" of {}", sanitize_line(user))).unwrap_or_default();
            match &self.target {
                Target::Router(_) => self
                    .terminal
                    .note(format_args!("You have no sessions. Create one: {} create <REPO>", self.program)),
                Target::AllUsers(_) => self.terminal.note(format_args!("There are no sessions{owner}.")),
                Target::Cluster(cluster) => {
                    let namespace = cluster.namespace();
                    self.terminal.note(format_args!(
                        "There are no sessions{owner} in the namespace {namespace}; \
                         choose another with --namespace."
                    ));
                }
            }
        }
        Ok(())
    }

    /// Returns the router's client, or an error if the target is the cluster, which can't do everything.
    fn router(&self, command: &str) -> Result<&Client, CliError> {
        match &self.target {
            Target::Router(client) => Ok(client),
            Target::AllUsers(_) => {
                let message = format!("{command} works on your own sessions");
                Err(CliError::new(CliError::USAGE, message).hint("Leave out --all."))
            }
            Target::Cluster(_) => {
                let message = format!("{command} needs a router and does not work with the cluster alone");
                let hint = format!(
                    "Use a router: {} {command} … --server https://<the router's address>, without --kube",
                    self.program
                );
                Err(CliError::new(CliError::USAGE, message).hint(hint))
            }
        }
    }

    fn table_style(&self) -> table::Style {
        table::Style {
            wide: self.terminal.format == OutputFormat::Wide,
            color: self.terminal.stdout_is_tty && self.terminal.color,
            all_users: self.target.has_all_users(),
            usage: false,
        }
    }

    async fn pick(&self, name: &str) -> Result<SessionHash, CliError> {
        pick::pick(&self.target, name, &self.program).await
    }

    async fn pick_all(&self, names: &[String]) -> Result<Vec<SessionHash>, CliError> {
        pick::pick_all(&self.target, names, &self.program).await
    }

    fn print_session(&self, session: &SessionReport) -> Result<(), CliError> {
        self.terminal.print_value(session, || table::session(session, self.table_style(), Timestamp::now()))
    }

    /// Prints the session that a command changed: its key, or all of it as JSON or YAML.
    async fn print_result(&self, hash: SessionHash) -> Result<(), CliError> {
        match self.terminal.format {
            OutputFormat::Table | OutputFormat::Wide => self.terminal.print(hash),
            OutputFormat::Json | OutputFormat::Yaml => self.print_session(&self.target.get(hash).await?),
        }
    }
}

/// Prints a shell's completion script.
pub(crate) fn completions(shell: Shell, program: &str) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut help::command(program), program, &mut script);
    std::io::Write::write_all(&mut std::io::stdout().lock(), &script)?;
    Ok(())
}

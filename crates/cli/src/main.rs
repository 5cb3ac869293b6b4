//! `opencode-routerctl`: lists, creates, stops and deletes opencode sessions, by a router or by the cluster.
//!
//! [`args`] and [`help`] are the command line; [`commands`] has a function for each command. A command sends
//! its requests to the [`target`] (a router or a [`cluster`]), gets [`report`]s, and prints them to the
//! [`terminal`] as a [`table`], JSON or YAML. [`pick`] resolves what a user typed to a session; [`error`] has
//! the exit codes.

mod args;
mod cluster;
mod commands;
mod error;
mod help;
mod pick;
mod report;
mod table;
mod target;
mod terminal;

use std::{env, process::ExitCode};

use clap::{ArgMatches, FromArgMatches, parser::ValueSource};

use crate::{
    args::{Cli, GlobalArgs},
    cluster::Cluster,
    error::CliError,
    target::Target,
    terminal::Terminal,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let program = help::program_name(&env::args().next().unwrap_or_default());
    let matches = help::command(&program).get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let terminal = Terminal::new(&cli.global);
    match run(cli, &matches, program, terminal).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if error.exit_code != 0 {
                // Errors are printed with `--quiet` too.
                Terminal { quiet: false, ..terminal }.note(&error);
            }
            ExitCode::from(error.exit_code)
        }
    }
}

async fn run(cli: Cli, matches: &ArgMatches, program: String, terminal: Terminal) -> Result<(), CliError> {
    if let args::Command::Completions { shell } = cli.command {
        return commands::completions(shell, &program);
    }
    let target = if uses_cluster(&cli.global, matches, &program)? {
        Target::Cluster(Box::new(Cluster::connect(&cli.global, terminal).await?))
    } else {
        Target::router(&cli.global)?
    };
    commands::run(cli.command, &commands::Context { target, terminal, program }).await
}

/// Whether the target is the cluster: with `--kube`, and as kubectl's plugin unless `--server` is given.
fn uses_cluster(global: &GlobalArgs, matches: &ArgMatches, program: &str) -> Result<bool, CliError> {
    let is_given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    if global.kube && is_given("server") {
        let message = "--kube (use the cluster) and --server (use a router) can't be combined";
        return Err(CliError::new(CliError::USAGE, message).hint("Leave out one of them."));
    }
    let is_cluster = global.kube || (help::is_plugin(program) && !is_given("server"));
    match ["kubeconfig", "context", "namespace"].into_iter().find(|id| is_given(id)) {
        Some(id) if !is_cluster => {
            let message = format!("--{id} needs --kube: without it, a router is used");
            Err(CliError::new(CliError::USAGE, message).hint("To use the cluster instead, add --kube."))
        }
        _ => Ok(is_cluster),
    }
}

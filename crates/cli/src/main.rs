//! `opencode-routerctl`: lists, makes, stops and deletes opencode sessions, through the router's API or by the cluster itself.

mod args;
mod cluster;
mod commands;
mod failure;
mod help;
mod pick;
mod reach;
mod table;
mod terminal;

use std::{env, process::ExitCode};

use clap::{ArgMatches, FromArgMatches, parser::ValueSource};

use crate::{
    args::{Cli, Global},
    cluster::Cluster,
    failure::Failure,
    reach::Reach,
    terminal::Terminal,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let name = help::name_of(&env::args().next().unwrap_or_default());
    let matches = help::command(&name).get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(why) => why.exit(),
    };
    let terminal = Terminal::new(&cli.global);
    match run(cli, &matches, &name, terminal).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.code != 0 {
                // What went wrong is said with `--quiet` too.
                Terminal { quiet: false, ..terminal }.say(&failure);
            }
            ExitCode::from(failure.code)
        }
    }
}

async fn run(cli: Cli, matches: &ArgMatches, name: &str, terminal: Terminal) -> Result<(), Failure> {
    if let args::Command::Completions { shell } = cli.command {
        return commands::completions(shell, name);
    }
    let reach = if asks_cluster(&cli.global, matches, name)? {
        Reach::Cluster(Box::new(Cluster::connect(&cli.global, terminal).await?))
    } else {
        Reach::router(&cli.global)?
    };
    let context = commands::Context { reach, terminal, name: name.to_owned() };
    commands::run(cli.command, &context).await
}

/// Whether the cluster is asked: with `--kube`, and as kubectl's plugin, unless a router is named there.
fn asks_cluster(global: &Global, matches: &ArgMatches, name: &str) -> Result<bool, Failure> {
    let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    if global.kube && given("server") {
        let message = "--kube asks the cluster, and --server a router: only one of them can be meant";
        return Err(Failure::new(Failure::USAGE, message));
    }
    let kube = global.kube || (help::is_plugin(name) && !given("server"));
    match ["kubeconfig", "context", "namespace"].into_iter().find(|id| given(id)) {
        Some(id) if !kube => {
            let message = format!("--{id} says which cluster to ask, and a router is asked");
            Err(Failure::new(Failure::USAGE, message).hint("To ask the cluster itself, add --kube."))
        }
        _ => Ok(kube),
    }
}

//! `opencode-routerctl`: lists, makes, stops and deletes opencode sessions through the router's API.

mod args;
mod commands;
mod failure;
mod help;
mod pick;
mod table;
mod terminal;

use std::{env, process::ExitCode};

use api::client::{Client, parse_header};
use clap::FromArgMatches;

use crate::{
    args::{Cli, Global},
    failure::Failure,
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
    match run(cli, &name, terminal).await {
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

async fn run(cli: Cli, name: &str, terminal: Terminal) -> Result<(), Failure> {
    if let args::Command::Completions { shell } = cli.command {
        return commands::completions(shell, name);
    }
    let context = commands::Context { client: client(&cli.global)?, terminal, name: name.to_owned() };
    commands::run(cli.command, &context).await
}

fn client(global: &Global) -> Result<Client, Failure> {
    let headers = global.headers.iter().filter(|line| !line.trim().is_empty());
    let headers = headers.map(|line| parse_header(line)).collect::<Result<_, _>>()?;
    Ok(Client::with_headers(&global.server, headers)?)
}

//! `opencode-router`: parse the configuration, build, spawn, wait for a signal, drain.

use std::{io::Write as _, process::ExitCode};

use clap::Parser as _;
use router_bin::{cli::Arguments, config::Config};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::from_process(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(problems) => {
            let _unheard = writeln!(std::io::stderr(), "{problems}");
            return ExitCode::from(2);
        }
    };
    if arguments.check_config {
        let _unheard = write!(std::io::stdout(), "{}", config.listing());
    }
    ExitCode::SUCCESS
}

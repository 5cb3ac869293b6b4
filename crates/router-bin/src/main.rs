//! `opencode-router`: parse the configuration, build, spawn, wait for a signal, drain.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
    thread::available_parallelism,
};

use clap::Parser as _;
use router_bin::{cli::Arguments, config::Config, logging, run::run};

/// The configuration is wrong.
const MISCONFIGURED: u8 = 2;
/// It could not run.
const FAILED: u8 = 1;

/// Threads that carry requests: as many as there are processors, which a proxy of sessions has no use for beyond these.
const MOST_WORKERS: usize = 8;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::from_process(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(problems) => return refuse(MISCONFIGURED, problems),
    };
    if arguments.check_config {
        return match write!(io::stdout(), "{}", config.listing()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(FAILED),
        };
    }
    if let Err(error) = logging::begin(&config) {
        return refuse(FAILED, error);
    }
    let workers = available_parallelism().map_or(2, usize::from).clamp(1, MOST_WORKERS);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(config)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(FAILED, format_args!("{error:#}")),
    }
}

/// Says on standard error what is wrong, for a person.
fn refuse(code: u8, what: impl Display) -> ExitCode {
    // If nobody hears it, the code still tells.
    let _unheard = writeln!(io::stderr(), "{what}");
    ExitCode::from(code)
}

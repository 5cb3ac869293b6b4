//! The program `opencode-router`: reads the command line and the configuration, then runs the router.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser as _;
use router_bin::{cli::Arguments, config::Config, logging, run};

/// A request allocates some twenty times; docs/benchmarks.md says what this allocator saves.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code for a wrong configuration.
const EXIT_CONFIG: u8 = 2;
/// The exit code for any other failure.
const EXIT_FAILURE: u8 = 1;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::from_process(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(problems) => return fail(EXIT_CONFIG, problems),
    };
    if arguments.check_config {
        return match write!(io::stdout(), "{}", config.listing()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(EXIT_FAILURE),
        };
    }
    if let Err(error) = logging::init(&config) {
        return fail(EXIT_FAILURE, error);
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(run::threads().get()).enable_all().build();
    let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run::run(config)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_FAILURE, format_args!("{error:#}")),
    }
}

/// Writes the error to standard error and returns the exit code.
fn fail(code: u8, error: impl Display) -> ExitCode {
    // If standard error is closed, the exit code still reports the failure.
    let _best_effort = writeln!(io::stderr(), "{error}");
    ExitCode::from(code)
}

//! The program `opencode-cloudflare-operator`: reads the command line and the configuration, then runs the
//! operator.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser as _;
use cloudflare_operator::{cli::Arguments, config::Config, logging, once, run::run};

/// The exit code for a wrong configuration.
const EXIT_CONFIG: u8 = 2;
/// The exit code for any other failure.
const EXIT_FAILURE: u8 = 1;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::from_process() {
        Ok(config) => config,
        Err(problems) => return fail(EXIT_CONFIG, problems),
    };
    if arguments.check_config {
        return print(&config.listing());
    }
    if let Err(error) = logging::init(&config) {
        return fail(EXIT_FAILURE, error);
    }
    // The work is waiting, so one thread does it.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(EXIT_FAILURE, error),
    };
    let outcome = runtime.block_on(async {
        match arguments {
            Arguments { dry_run: true, .. } => once::dry_run(config).await,
            Arguments { once: true, .. } => once::once(config).await,
            _ => Box::pin(run(config)).await.map(|()| String::new()),
        }
    });
    match outcome {
        Ok(text) => print(&text),
        Err(error) => fail(EXIT_FAILURE, format_args!("{error:#}")),
    }
}

fn print(text: &str) -> ExitCode {
    match write!(io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(EXIT_FAILURE),
    }
}

/// Writes the error to standard error and returns the exit code.
fn fail(code: u8, error: impl Display) -> ExitCode {
    // If standard error is closed, the exit code still reports the failure.
    let _best_effort = writeln!(io::stderr(), "{error}");
    ExitCode::from(code)
}

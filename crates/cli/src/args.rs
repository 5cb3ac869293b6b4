//! The command line. Environment variables are read here and nowhere else (clap's `env`).

use std::ffi::OsString;

use clap::{Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

/// Your opencode sessions, from the command line.
#[derive(Debug, Parser)]
#[command(name = "opencode-routerctl", version, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Where the router is
    #[arg(long, global = true, env = "OPENCODE_ROUTER_URL", default_value = "http://localhost:3000",
        value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) server: String,
    /// A header to send with each request, for a sign-in in front of the router; may be repeated.
    /// The environment variable keeps a token out of the process list (one header a line)
    #[arg(
        long = "header",
        global = true,
        env = "OPENCODE_ROUTER_HEADERS",
        hide_env_values = true,
        value_name = "NAME: VALUE",
        value_delimiter = '\n'
    )]
    pub(crate) headers: Vec<String>,
    /// Ask the cluster itself, as your kubeconfig says you are: everybody's sessions, also where no router answers
    #[arg(long, global = true)]
    pub(crate) kube: bool,
    /// With --kube: the file that describes the cluster; the usual one without it
    #[arg(long, global = true, env = "KUBECONFIG", value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) kubeconfig: Option<OsString>,
    /// With --kube: which context of it; the current one without it
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// With --kube: where sessions are; the context's namespace without it, or `opencode`
    #[arg(long, global = true, env = "OPENCODE_NAMESPACE", value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// How to print what was asked for
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub(crate) output: Output,
    /// Say nothing but what was asked for
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Print without colour, as <https://no-color.org> has it
    #[arg(long, global = true, env = "NO_COLOR", hide_env_values = true, num_args = 0..=1, require_equals = true,
        default_missing_value = "1", value_name = "1")]
    pub(crate) no_color: Option<String>,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// For people with a wide screen.
    Wide,
    /// What the router answered.
    Json,
    /// The same as YAML.
    Yaml,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List your sessions, newest activity first
    #[command(visible_alias = "ls")]
    List {
        /// With --kube: only this user's
        #[arg(long, value_name = "EMAIL")]
        user: Option<String>,
    },
    /// Show all about one session
    Show {
        #[command(flatten)]
        session: One,
    },
    /// Ask for a session on a repository's branch; the same repository and branch give the same session
    Create(Create),
    /// Stop sessions; their files are kept
    Stop {
        #[command(flatten)]
        sessions: Some,
    },
    /// Start stopped or failed sessions
    Resume {
        #[command(flatten)]
        sessions: Some,
        /// Wait until they run
        #[arg(short, long)]
        wait: bool,
    },
    /// Delete sessions and all of their files
    #[command(visible_alias = "rm")]
    Delete {
        #[command(flatten)]
        sessions: Some,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Print what a session wrote
    Logs {
        #[command(flatten)]
        session: One,
        /// How many lines, from the end
        #[arg(short = 'n', long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
        lines: u16,
        /// Go on printing what is written
        #[arg(short, long)]
        follow: bool,
    },
    /// Open a running session in the browser
    Open {
        #[command(flatten)]
        session: One,
        /// Only print its address
        #[arg(long)]
        print: bool,
        #[command(flatten)]
        browser: Browser,
    },
    /// Print a completion script for your shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// A session, as a person names it.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// The session's key, or the beginning of it
    #[arg(value_name = "SESSION")]
    pub(crate) name: String,
}

/// Sessions, as a person names them.
#[derive(Debug, clap::Args)]
pub(crate) struct Some {
    /// The sessions' keys, or the beginnings of them
    #[arg(value_name = "SESSION", required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// The repository's address; a folder on the router's own machine where it takes those
    #[arg(required_unless_present = "empty", value_hint = ValueHint::Url)]
    pub(crate) repo: Option<String>,
    /// The branch to work on; a new name is suggested without it
    pub(crate) branch: Option<String>,
    /// Where to create the branch from if it does not exist; the remote's default branch without it
    #[arg(long, value_name = "BRANCH")]
    pub(crate) from: Option<String>,
    /// The first prompt; `-` reads it from standard input
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Start a new project: an empty repository of its own
    #[arg(long, conflicts_with_all = ["repo", "branch", "from"])]
    pub(crate) empty: bool,
    /// Wait until it runs
    #[arg(short, long)]
    pub(crate) wait: bool,
    /// Wait until it runs, then open it in the browser
    #[arg(long)]
    pub(crate) open: bool,
    #[command(flatten)]
    pub(crate) browser: Browser,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Browser {
    /// The program that opens addresses; the desktop's own without it
    #[arg(long, env = "OPENCODE_ROUTER_BROWSER", value_name = "PROGRAM", value_hint = ValueHint::CommandName)]
    pub(crate) browser: Option<String>,
}

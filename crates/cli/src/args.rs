//! The command line's arguments. Environment variables are read here and nowhere else (clap's `env`).

use std::ffi::OsString;

use clap::{Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

/// Manage your opencode sessions from the command line.
#[derive(Debug, Parser)]
#[command(name = "opencode-routerctl", version, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// The router's address
    #[arg(long, global = true, env = "OPENCODE_ROUTER_URL", default_value = "http://localhost:3000",
        value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) server: String,
    /// A header to send with each request, for a sign-in proxy in front of the router; may be repeated.
    /// The environment variable takes one header a line, and keeps a token out of the process list
    #[arg(
        long = "header",
        global = true,
        env = "OPENCODE_ROUTER_HEADERS",
        hide_env_values = true,
        value_name = "NAME: VALUE",
        value_delimiter = '\n'
    )]
    pub(crate) headers: Vec<String>,
    /// As an administrator of the router (ADMIN_EMAILS, ADMIN_GROUPS): the sessions of all users
    #[arg(long, global = true, conflicts_with = "kube")]
    pub(crate) all: bool,
    /// Use the cluster's API server instead of a router: all users' sessions, with your kubeconfig's rights
    #[arg(long, global = true)]
    pub(crate) kube: bool,
    /// With --kube: the kubeconfig file [default: kubectl's]
    #[arg(long, global = true, env = "KUBECONFIG", value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) kubeconfig: Option<OsString>,
    /// With --kube: the context in the kubeconfig [default: the current one]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// With --kube: the namespace of the sessions [default: the context's, or `opencode`]
    #[arg(long, global = true, env = "OPENCODE_NAMESPACE", value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// The output format
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub(crate) output: OutputFormat,
    /// Print only results and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Print without colour (see <https://no-color.org>)
    #[arg(
        long,
        global = true,
        env = "NO_COLOR",
        hide_env_values = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1",
        value_name = "1"
    )]
    pub(crate) no_color: Option<String>,
}

/// The output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum OutputFormat {
    /// A table.
    #[default]
    Table,
    /// A table with more columns.
    Wide,
    /// JSON, as in the router's API.
    Json,
    /// The same as YAML.
    Yaml,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List your sessions, newest activity first
    #[command(visible_alias = "ls")]
    List {
        /// With --all or --kube: only this user's sessions
        #[arg(long, value_name = "EMAIL")]
        user: Option<String>,
    },
    /// Show all details of a session
    Show {
        #[command(flatten)]
        session: SessionArg,
    },
    /// Create a session on a branch of a repository, or return the one that exists
    Create(CreateArgs),
    /// Stop sessions; their files are kept
    Stop {
        #[command(flatten)]
        sessions: SessionArgs,
    },
    /// Start stopped or failed sessions again
    Resume {
        #[command(flatten)]
        sessions: SessionArgs,
        /// Wait until the sessions are running
        #[arg(short, long)]
        wait: bool,
    },
    /// Delete sessions and all of their files
    #[command(visible_alias = "rm")]
    Delete {
        #[command(flatten)]
        sessions: SessionArgs,
        /// Delete without asking for confirmation
        #[arg(short, long)]
        yes: bool,
    },
    /// Print the log of a session
    Logs {
        #[command(flatten)]
        session: SessionArg,
        /// How many of the last lines to print
        #[arg(
            short = 'n',
            long,
            default_value_t = 200,
            value_name = "N",
            value_parser = clap::value_parser!(u16).range(1..=10_000)
        )]
        lines: u16,
        /// Keep printing new lines as they are written
        #[arg(short, long)]
        follow: bool,
    },
    /// Print the latest messages of a running session
    Messages {
        #[command(flatten)]
        session: SessionArg,
        /// Keep printing what is written
        #[arg(short, long)]
        follow: bool,
    },
    /// Continue a session in this terminal, with opencode's own interface
    Attach(AttachArgs),
    /// Open a running session in the browser
    Open {
        #[command(flatten)]
        session: SessionArg,
        /// Only print the session's address
        #[arg(long)]
        print: bool,
        #[command(flatten)]
        browser: BrowserArgs,
    },
    /// Manage your secrets: variables that all of your sessions have from their next start on
    #[command(arg_required_else_help = true)]
    Secret {
        #[command(subcommand)]
        command: SecretCommand,
    },
    /// Print a completion script for your shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// List the names of your secrets; their values can't be read
    #[command(visible_alias = "ls")]
    List,
    /// Set a secret; its value is read from standard input, or asked for without showing it
    Set {
        /// The name of the variable
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Delete secrets
    #[command(visible_alias = "rm")]
    Delete {
        /// The names of the variables
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Delete all of your secrets
    Clear {
        /// Delete without asking for confirmation
        #[arg(short, long)]
        yes: bool,
    },
}

/// One session, as typed by a user.
#[derive(Debug, clap::Args)]
pub(crate) struct SessionArg {
    /// The session's key, or enough of its first characters
    #[arg(value_name = "SESSION")]
    pub(crate) name: String,
}

/// One or more sessions, as typed by a user.
#[derive(Debug, clap::Args)]
pub(crate) struct SessionArgs {
    /// The sessions' keys, or enough of their first characters
    #[arg(value_name = "SESSION", required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct AttachArgs {
    #[command(subcommand)]
    pub(crate) command: Option<AttachCommand>,
    /// The session's key, or enough of its first characters
    #[arg(value_name = "SESSION", required = true)]
    pub(crate) session: Option<String>,
    /// Only print the command, with a token that stays valid
    #[arg(long)]
    pub(crate) print: bool,
    /// The token's name in the list [default: this machine's name]
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,
    /// How many days the token is valid [default: 1, with --print the router's default]
    #[arg(long, value_name = "DAYS")]
    pub(crate) days: Option<u32>,
    /// The opencode program
    #[arg(long, env = "OPENCODE_BIN", default_value = "opencode", value_name = "PROGRAM", value_hint = ValueHint::CommandName)]
    pub(crate) opencode: String,
    /// Further arguments for opencode attach
    #[arg(last = true, value_name = "ARGUMENTS")]
    pub(crate) arguments: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AttachCommand {
    /// List the valid tokens of a session
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        session: SessionArg,
    },
    /// Revoke tokens of a session; whoever is attached with them is disconnected
    Revoke {
        #[command(flatten)]
        session: SessionArg,
        /// The tokens' ids or names
        #[arg(value_name = "TOKEN", required_unless_present = "all_tokens")]
        ids: Vec<String>,
        /// Revoke all tokens of the session
        #[arg(long, conflicts_with = "ids")]
        all_tokens: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// The repository's address, or a folder on the router's machine if the router accepts folders
    #[arg(required_unless_present = "empty", value_hint = ValueHint::Url)]
    pub(crate) repo: Option<String>,
    /// The branch to work on [default: a new name]
    pub(crate) branch: Option<String>,
    /// The branch to start from if the branch does not exist [default: the repository's default branch]
    #[arg(long, value_name = "BRANCH")]
    pub(crate) from: Option<String>,
    /// The first prompt; `-` reads it from standard input
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Start a new project in an empty repository
    #[arg(long, conflicts_with_all = ["repo", "branch", "from"])]
    pub(crate) empty: bool,
    /// Wait until the session is running
    #[arg(short, long)]
    pub(crate) wait: bool,
    /// Wait until the session is running, then open it in the browser
    #[arg(long)]
    pub(crate) open: bool,
    #[command(flatten)]
    pub(crate) browser: BrowserArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BrowserArgs {
    /// The program that opens the address [default: the desktop's browser]
    #[arg(long, env = "OPENCODE_ROUTER_BROWSER", value_name = "PROGRAM", value_hint = ValueHint::CommandName)]
    pub(crate) browser: Option<String>,
}

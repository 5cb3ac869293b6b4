//! The command line's help: the program's name as the user typed it, and examples for each command.

use std::path::Path;

use clap::{Command, CommandFactory};

use crate::args::Cli;

/// Returns the program's name as the user types it; `kubectl-opencode` is `kubectl opencode`.
pub(crate) fn program_name(path: &str) -> String {
    let stem = Path::new(path).file_stem().and_then(|stem| stem.to_str()).unwrap_or("opencode-routerctl");
    match stem.strip_prefix("kubectl-") {
        // In a plugin's file name, `-` stands for a space and `_` for `-`.
        Some(plugin) => format!("kubectl {}", plugin.replace('-', " ").replace('_', "-")),
        None => stem.to_owned(),
    }
}

/// Whether the program was started as kubectl's plugin.
pub(crate) fn is_plugin(program: &str) -> bool {
    program.starts_with("kubectl ")
}

/// Returns the command line, with examples for this program name.
pub(crate) fn command(program: &str) -> Command {
    let with_name = |text: &str| text.replace("{me}", program);
    let mut command = Cli::command().bin_name(program).after_help(with_name(OVERVIEW));
    for (name, examples) in EXAMPLES {
        command = command.mut_subcommand(name, |subcommand| subcommand.after_help(with_name(examples)));
    }
    command
}

const OVERVIEW: &str = "\
A session is your own opencode server on one branch of one repository. Its key has 12 hexadecimal
digits. To name a session, type its key, or as many of the first digits as no other session has.

Examples:
  {me} create https://github.com/acme/widgets fix-login --open
  {me} create https://github.com/acme/widgets -m 'Add tests for the parser' --wait
  {me} list
  {me} logs a48d -f
  {me} stop a48d

With --all, an administrator of the router lists, stops and deletes the sessions of all users, and reads
their logs.

With --kube, the program uses the cluster's API server instead of a router, with the rights of your
kubeconfig. list, show, stop, resume, delete and logs then work on the sessions of all users. To use
it as a kubectl plugin (`kubectl opencode`), link it as kubectl-opencode into a folder of your PATH;
the plugin uses the cluster unless you give --server.

Results are printed to standard output, everything else to standard error.

Exit codes:
  0  success
  1  any other error
  2  the command line is invalid, or --yes is needed
  3  there is no such session
  4  the router, the sign-in proxy in front of it, or the cluster refused the request
  5  the router or the API server can't be reached";

const EXAMPLES: [(&str, &str); 11] = [
    (
        "list",
        "\
Examples:
  {me} list
  {me} list -o wide
  {me} list -o json | jq -r '.sessions[] | select(.state == \"running\") | .hash'
  {me} list --all -o wide
  {me} list --kube --user alice@example.com",
    ),
    (
        "show",
        "\
Examples:
  {me} show a48d
  {me} show a48d -o json | jq -r .url",
    ),
    (
        "create",
        "\
Prints the session's key, or with -o json or yaml all of its details. The same repository and branch
always give the same session.

Examples:
  {me} create https://github.com/acme/widgets fix-login
  {me} create https://github.com/acme/widgets fix-login --from develop --open
  {me} create .   # the repository in this folder, if the router runs on this machine
  {me} create --empty -m 'Write a game of snake in one HTML file' --open
  {me} create https://github.com/acme/widgets --wait | xargs {me} open",
    ),
    (
        "stop",
        "\
Examples:
  {me} stop a48d
  {me} list -o json | jq -r '.sessions[].hash' | xargs {me} stop
  {me} stop a48d --kube --context production",
    ),
    (
        "resume",
        "\
Examples:
  {me} resume a48d --wait && {me} open a48d

With --kube, the request is stored in the cluster, and a router there starts the session.",
    ),
    (
        "delete",
        "\
Uncommitted files and commits that are not pushed are lost. Before it asks for confirmation, the
program shows how many there are, if the router knows.

Examples:
  {me} delete a48d
  {me} delete a48d 91fc --yes",
    ),
    (
        "logs",
        "\
Examples:
  {me} logs a48d -n 50
  {me} logs a48d -f",
    ),
    (
        "messages",
        "\
The latest messages of the session's newest conversation: what you and the agent wrote.

Examples:
  {me} messages a48d
  {me} messages a48d -f",
    ),
    (
        "attach",
        "\
Creates a token, runs `opencode attach` with it, and revokes the token at its end. A stopped session
starts by itself. What follows -- is passed on to opencode.

Examples:
  {me} attach a48d
  {me} attach a48d -- --mini
  {me} attach a48d --print --name build-server --days 7
  {me} attach list a48d
  {me} attach revoke a48d build-server
  {me} attach revoke a48d --all-tokens",
    ),
    (
        "secret",
        "\
A value is never an argument, which other users of the machine could read. The newline at the end of a
single line is not part of the value.

Examples:
  {me} secret set NPM_TOKEN   # asks for the value
  {me} secret set DEPLOY_KEY < id_ed25519
  {me} secret list
  {me} secret delete NPM_TOKEN DEPLOY_KEY",
    ),
    (
        "open",
        "\
Examples:
  {me} open a48d
  {me} open a48d --print",
    ),
];

#[cfg(test)]
mod tests {
    use super::{command, program_name};

    #[test]
    fn the_name_is_the_one_the_user_typed() {
        assert_eq!(program_name("/usr/bin/opencode-routerctl"), "opencode-routerctl");
        assert_eq!(program_name("./kubectl-opencode"), "kubectl opencode");
        assert_eq!(program_name("kubectl-open_code"), "kubectl open-code");
        assert_eq!(program_name(""), "opencode-routerctl");
    }

    #[test]
    fn the_command_line_is_consistent() {
        command("opencode-routerctl").debug_assert();
    }

    #[test]
    fn help_uses_the_name_the_user_typed() {
        let mut command = command("kubectl opencode");
        let help = command.render_long_help().to_string();
        assert!(help.contains("kubectl opencode create https://"), "{help}");
        assert!(!help.contains("{me}"), "{help}");
    }

    #[test]
    fn every_example_is_a_valid_command_line() {
        let texts = super::EXAMPLES.map(|(_, text)| text).into_iter().chain([super::OVERVIEW]);
        let lines = texts.flat_map(str::lines).filter_map(|line| line.trim().strip_prefix("{me} "));
        let mut examples = 0;
        for line in lines {
            let line = line.split(['|', '#', '&', '<']).next().unwrap_or_default();
            let quoted = line.split('\'').enumerate().flat_map(|(at, part)| match at % 2 {
                0 => part.split_whitespace().collect(),
                _ => vec![part],
            });
            let args = std::iter::once("x").chain(quoted);
            if let Err(error) = command("x").try_get_matches_from(args) {
                panic!("{line}: {error}");
            }
            examples += 1;
        }
        assert!(examples > 10, "only {examples} examples were found");
    }
}

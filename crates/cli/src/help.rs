//! The command with its own name in it, and the examples that `--help` ends in.

use std::path::Path;

use clap::{Command, CommandFactory};

use crate::args::Cli;

/// The name to be called by: as it was started; `kubectl-opencode` is `kubectl opencode`.
pub(crate) fn name_of(program: &str) -> String {
    let stem = Path::new(program).file_stem().and_then(|stem| stem.to_str()).unwrap_or("opencode-routerctl");
    match stem.strip_prefix("kubectl-") {
        Some(plugin) => format!("kubectl {}", plugin.replace('-', " ").replace('_', "-")),
        None => stem.to_owned(),
    }
}

/// Whether it was started as kubectl's plugin.
pub(crate) fn is_plugin(name: &str) -> bool {
    name.starts_with("kubectl ")
}

/// The command line, explained under this name.
pub(crate) fn command(name: &str) -> Command {
    let mut command = Cli::command().bin_name(name).after_help(fill(OVERVIEW, name));
    for (sub, examples) in EXAMPLES {
        command = command.mut_subcommand(sub, |sub| sub.after_help(fill(examples, name)));
    }
    command
}

fn fill(text: &str, name: &str) -> String {
    text.replace("{me}", name)
}

const OVERVIEW: &str = "\
A session is an opencode of your own on one branch of one repository. It is named by a key of 12
hexadecimal digits; as many of them as tell it from your others will do.

Examples:
  {me} create https://github.com/acme/widgets fix-login --open
  {me} create https://github.com/acme/widgets -m 'Add tests for the parser' --wait
  {me} list
  {me} logs a48d -f
  {me} stop a48d

With --kube the cluster is asked, as your kubeconfig says you are, and not the router: list, show,
stop, resume, delete and logs of everybody's sessions, as far as you may. Linked as kubectl-opencode
into a folder of your PATH it is a plugin, `kubectl opencode`, which asks the cluster unless --server
names a router.

What was asked for goes to standard output, all else to standard error.

Exit codes:
  0  it went well
  1  it did not
  2  the command line can't be understood, or needs --yes
  3  there is no such session
  4  the router, the sign-in in front of it or the cluster said no
  5  the router or the API server can't be reached";

const EXAMPLES: [(&str, &str); 8] = [
    (
        "list",
        "\
Examples:
  {me} list
  {me} list -o wide
  {me} list -o json | jq -r '.sessions[] | select(.state == \"running\") | .hash'
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
The session's key is printed; with -o json or yaml, all that is known of it.

Examples:
  {me} create https://github.com/acme/widgets fix-login
  {me} create https://github.com/acme/widgets fix-login --from develop --open
  {me} create .   # the repository here, on a router of your own machine
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

With --kube the wish is written down in the cluster, and a router there starts the session.",
    ),
    (
        "delete",
        "\
What is not committed or not pushed is lost: where the router can tell, it is counted before you are asked.

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
        "open",
        "\
Examples:
  {me} open a48d
  {me} open a48d --print",
    ),
];

#[cfg(test)]
mod tests {
    use super::{command, name_of};

    #[test]
    fn the_name_is_the_one_it_was_started_by() {
        assert_eq!(name_of("/usr/bin/opencode-routerctl"), "opencode-routerctl");
        assert_eq!(name_of("./kubectl-opencode"), "kubectl opencode");
        assert_eq!(name_of("kubectl-open_code"), "kubectl open-code");
        assert_eq!(name_of(""), "opencode-routerctl");
    }

    #[test]
    fn the_command_line_fits_together() {
        command("opencode-routerctl").debug_assert();
    }

    #[test]
    fn help_teaches_under_the_name_it_was_started_by() {
        let mut command = command("kubectl opencode");
        let help = command.render_long_help().to_string();
        assert!(help.contains("kubectl opencode create https://"), "{help}");
        assert!(!help.contains("{me}"), "{help}");
    }

    /// The names that a person types in place of `{me}` work: each example is a command line.
    #[test]
    fn every_example_is_a_command_line_that_is_understood() {
        let texts = super::EXAMPLES.map(|(_, text)| text).into_iter().chain([super::OVERVIEW]);
        let lines = texts.flat_map(str::lines).filter_map(|line| line.trim().strip_prefix("{me} "));
        let mut seen = 0;
        for line in lines {
            let line = line.split(['|', '#', '&']).next().unwrap_or_default();
            let quoted = line.split('\'').enumerate().flat_map(|(at, part)| match at % 2 {
                0 => part.split_whitespace().collect(),
                _ => vec![part],
            });
            let args = std::iter::once("x").chain(quoted);
            if let Err(why) = command("x").try_get_matches_from(args) {
                panic!("{line}: {why}");
            }
            seen += 1;
        }
        assert!(seen > 10, "only {seen} examples were seen");
    }
}

//! The command line. What the operator does is set by variables.

use clap::Parser;

use crate::config::variables::{DefaultValue, VARIABLES, Variable};

/// Publishes the hosts of opencode sessions: Cloudflare DNS records, rules of a Cloudflare Tunnel, and
/// Traefik IngressRoutes.
///
/// The hosts of a session exist from the creation of its volume claim to its deletion. Several operators may
/// run; one of them, by a Lease, writes. What others made at Cloudflare or in the cluster is never changed.
#[derive(Debug, Parser)]
#[command(
    name = "opencode-cloudflare-operator",
    version,
    after_help = "--help lists all variables.",
    after_long_help = variables()
)]
pub struct Arguments {
    /// Print the effective configuration and where each value comes from, then exit.
    ///
    /// Secrets are not shown, and nothing is asked of the cluster or of Cloudflare. The exit code is 0 if the
    /// configuration is valid, else 2.
    #[arg(long, conflicts_with_all = ["once", "dry_run"])]
    pub check_config: bool,
    /// Reconcile once, then exit.
    ///
    /// It waits for the Lease, so an operator that runs must be stopped before. The exit code is 0 if
    /// everything is as desired, 1 if not: the output says what is left.
    #[arg(long)]
    pub once: bool,
    /// Print what would be changed, then exit.
    ///
    /// It reads the cluster and Cloudflare, and writes nothing, also together with --once. The exit code is 0
    /// if both could be read.
    #[arg(long)]
    pub dry_run: bool,
}

/// Returns the part of `--help` that documents the variables.
fn variables() -> String {
    let mut text = String::from("The operator is configured by variables of the environment.\n");
    for (heading, is_shown) in [
        ("Required", (|default| default == DefaultValue::Required) as fn(DefaultValue) -> bool),
        ("Optional", |default| !matches!(default, DefaultValue::Required | DefaultValue::NoEffect)),
        ("Accepted without effect, for the TypeScript operator's sake", |default| {
            default == DefaultValue::NoEffect
        }),
    ] {
        text.push_str(&format!("\n{heading}:\n"));
        VARIABLES
            .iter()
            .filter(|variable| is_shown(variable.default))
            .for_each(|variable| text.push_str(&entry(variable)));
    }
    text.push_str(
        "\nTry it: set the required variables, then\n\
         \x20 opencode-cloudflare-operator --check-config   what it understood\n\
         \x20 opencode-cloudflare-operator --dry-run        what it would change\n\
         \nExit codes: 0 stopped by a signal, or nothing is left; 1 could not run, or something is left;\n\
         2 the configuration is wrong.",
    );
    text
}

fn entry(variable: &Variable) -> String {
    let plain = |text: &str| text.replace('`', "");
    let default = match variable.default {
        DefaultValue::Required | DefaultValue::NoEffect => String::new(),
        _ => format!("; default: {}", plain(&variable.default_text())),
    };
    format!(
        "  {}\n      {}\n      {}{default}\n",
        variable.name,
        wrap(&plain(variable.about), 92).join("\n      "),
        plain(variable.unit),
    )
}

/// Breaks a text between words into lines of at most `width` characters.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

//! The command line. Everything but the path of the configuration file is set by variables.

use std::path::PathBuf;

use clap::Parser;

use crate::config::variables::{Scope, VARIABLES, Variable};

/// Runs one isolated opencode server for every user, repository and branch.
#[derive(Debug, Parser)]
#[command(
    name = "opencode-router",
    version,
    after_help = "--help lists all variables.",
    after_long_help = variables()
)]
pub struct Arguments {
    /// A file that sets variables: .toml, .yaml or .yml. The environment overrides it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the effective configuration and where each value comes from, then exit.
    ///
    /// Secrets are not shown. The exit code is 0 if the configuration is valid, else 2.
    #[arg(long)]
    pub check_config: bool,
}

/// Returns the part of `--help` that documents the variables.
fn variables() -> String {
    let mut text = String::from(
        "The router is configured by variables, in the environment or in the file given with --config\n\
         (where a name may be in lower case: `port = 3000`). The environment overrides the file.\n",
    );
    for (scope, heading) in [
        (Scope::Router, "Variables"),
        (Scope::Local, "With BACKEND=local (sessions are child processes)"),
        (
            Scope::Kubernetes,
            "With BACKEND=kubernetes (sessions are Pods; KUBECONFIG names the cluster, else the Pod's own)",
        ),
    ] {
        text.push_str(&format!("\n{heading}:\n"));
        VARIABLES
            .iter()
            .filter(|variable| variable.scope == scope)
            .for_each(|variable| text.push_str(&entry(variable)));
    }
    text.push_str("\nExit codes: 0 stopped by a signal; 1 could not run; 2 the configuration is wrong.");
    text
}

fn entry(variable: &Variable) -> String {
    let plain = |text: &str| text.replace('`', "");
    format!(
        "  {}\n      {}\n      {}; default: {}\n",
        variable.name,
        wrap(&plain(variable.about), 92).join("\n      "),
        plain(variable.unit),
        plain(&variable.default_text()),
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

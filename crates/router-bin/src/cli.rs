//! The command line: it names the configuration file; everything else is a variable.

use std::path::PathBuf;

use clap::Parser;

use crate::config::settings::{SETTINGS, Scope, Setting};

/// One isolated opencode server for every user, repository and branch.
#[derive(Debug, Parser)]
#[command(name = "opencode-router", version, after_help = "--help lists the variables.", after_long_help = variables())]
pub struct Arguments {
    /// A file with variables: .toml, .yaml or .yml. The environment wins over it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the configuration as it would be, and where each value comes from; run nothing.
    ///
    /// Secrets are not shown. The exit code is 0 if the router would take the configuration, else 2.
    #[arg(long)]
    pub check_config: bool,
}

/// The part of `--help` that teaches the variables.
fn variables() -> String {
    let mut text = String::from(
        "Everything is set by variables, in the environment or in the file given with --config (there in\n\
         either case: `port = 3000`). The environment wins over the file.\n",
    );
    for (scope, heading) in [
        (Scope::Router, "Variables"),
        (Scope::Local, "For BACKEND=local, sessions as processes of this machine"),
        (
            Scope::Kubernetes,
            "For BACKEND=kubernetes, sessions as Pods (the cluster: KUBECONFIG, else the Pod's own)",
        ),
        (Scope::Later, "For what comes later; without effect now"),
    ] {
        text.push_str(&format!("\n{heading}:\n"));
        SETTINGS
            .iter()
            .filter(|setting| setting.scope == scope)
            .for_each(|setting| text.push_str(&entry(setting)));
    }
    text.push_str("\nExit codes: 0 ended when asked to; 1 could not run; 2 the configuration is wrong.");
    text
}

fn entry(setting: &Setting) -> String {
    let plain = |text: &str| text.replace('`', "");
    format!(
        "  {}\n      {}\n      {}; default: {}\n",
        setting.name,
        fold(&plain(setting.about), 92).join("\n      "),
        plain(setting.unit),
        plain(&setting.default_text()),
    )
}

/// Breaks a text into lines of at most `width` characters, between words.
fn fold(text: &str, width: usize) -> Vec<String> {
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

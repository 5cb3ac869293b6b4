//! docs/configuration.md and `--help` hold every variable, as it is.

use std::{fs, path::PathBuf};

use clap::CommandFactory as _;
use router_bin::{
    cli::Arguments,
    config::settings::{SETTINGS, Scope},
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn table(scope: Scope) -> String {
    let rows = SETTINGS.iter().filter(|setting| setting.scope == scope).map(|setting| {
        format!(
            "| `{}` | {} | {} | {} |\n",
            setting.name,
            setting.default_text(),
            setting.unit,
            setting.about
        )
    });
    format!("| variable | default | unit | what it does |\n|---|---|---|---|\n{}", rows.collect::<String>())
}

#[test]
fn the_configuration_page_holds_every_variable_with_default_and_unit() {
    let page = fs::read_to_string(root().join("docs/configuration.md")).expect("the page");
    for scope in [Scope::Router, Scope::Kubernetes, Scope::Later] {
        let table = table(scope);
        assert!(
            page.contains(&table),
            "docs/configuration.md should hold this table for {scope:?}:\n\n{table}"
        );
    }
    let rows = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, SETTINGS.len(), "docs/configuration.md has rows of variables that are none");
}

#[test]
fn the_help_teaches_every_variable() {
    let help = Arguments::command().render_long_help().to_string();
    for setting in SETTINGS {
        assert!(help.contains(&format!("\n  {}\n", setting.name)), "{} is not in\n{help}", setting.name);
        assert!(help.contains(&setting.unit.replace('`', "")), "{} is not in\n{help}", setting.unit);
    }
    assert!(!Arguments::command().render_help().to_string().contains("IDLE_TIMEOUT"), "-h stays short");
}

//! The documentation agrees with the code: variables, examples, names of tests, the chart.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use clap::CommandFactory as _;
use pod_manager::Stage;
use router_bin::{
    cli::Arguments,
    config::{
        Config,
        variables::{Scope, VARIABLES},
    },
    metrics::Metrics,
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn table(scope: Scope) -> String {
    let rows = VARIABLES.iter().filter(|variable| variable.scope == scope).map(|variable| {
        format!(
            "| `{}` | {} | {} | {} |\n",
            variable.name,
            variable.default_text(),
            variable.unit,
            variable.about
        )
    });
    format!("| variable | default | unit | what it does |\n|---|---|---|---|\n{}", rows.collect::<String>())
}

#[test]
fn the_configuration_page_has_every_variable_with_default_and_unit() {
    let page = fs::read_to_string(root().join("docs/configuration.md")).expect("the page");
    for scope in [Scope::Router, Scope::Local, Scope::Kubernetes] {
        let table = table(scope);
        assert!(
            page.contains(&table),
            "docs/configuration.md should contain this table for {scope:?}:\n\n{table}"
        );
    }
    let rows = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, VARIABLES.len(), "docs/configuration.md has rows of unknown variables");
}

#[test]
fn the_operations_page_has_exactly_the_metrics_that_the_router_shows() {
    let metrics = Metrics::new(UNIX_EPOCH);
    metrics.record_start("running");
    metrics.observe_stage(Stage::Ready, Duration::from_secs(1));
    let text = metrics.render([("running", 1)], true, 0).expect("text");
    let shown = metrics_in(&text);
    let page = fs::read_to_string(root().join("docs/operations.md")).expect("the page");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeMap<_, _> = rows
        .filter(|row| row.starts_with("opencode_router_") || row.starts_with("process_"))
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let labels = cells[2].split(", ").map(|label| label.trim_matches('`').to_owned());
            let labels = labels.filter(|label| !label.is_empty()).collect::<BTreeSet<_>>();
            (cells[0].trim_matches('`').to_owned(), (cells[1].to_owned(), labels))
        })
        .collect();
    assert_eq!(documented, shown, "docs/operations.md, against what /metrics shows");
}

/// Returns type and labels of each metric in an OpenMetrics text, under the name that Prometheus gives it.
fn metrics_in(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut all = BTreeMap::new();
    for (name, kind) in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')) {
        let name = match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        };
        let samples = text.lines().filter(|line| !line.starts_with('#') && line.starts_with(&name));
        let labels = samples
            .filter_map(|sample| sample.split_once('{')?.1.split_once('}'))
            .flat_map(|(labels, _)| labels.split(',').filter_map(|label| label.split_once('=')))
            .map(|(label, _)| label.to_owned())
            .filter(|label| label != "le")
            .collect();
        all.insert(name, (kind.to_owned(), labels));
    }
    all
}

#[test]
fn the_symptoms_on_the_operations_page_are_sentences_of_the_programs() {
    let page = fs::read_to_string(root().join("docs/operations.md")).expect("the page");
    let (_, symptoms) = page.split_once("## Trouble-shooting").expect("the section");
    let (symptoms, _) = symptoms.split_once("\n## ").expect("its end");
    // A string may continue on the next line.
    let sources = sources(&root().join("crates"));
    let parts = sources.split("\\\n").map(str::trim_start);
    let sources: String = parts.collect();
    let mut count = 0;
    for cell in symptoms.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()) {
        let quoted = cell.split(['"', '`']).skip(1).step_by(2).filter(|text| text.contains(' '));
        for text in quoted {
            count += 1;
            let text = text.trim_end_matches('.');
            assert!(sources.contains(text), "docs/operations.md quotes {text:?}, which no program says");
        }
    }
    assert!(count > 8, "only {count} sentences were found");
}

#[test]
fn the_help_has_every_variable() {
    let help = Arguments::command().render_long_help().to_string();
    for variable in VARIABLES {
        assert!(help.contains(&format!("\n  {}\n", variable.name)), "{} is not in\n{help}", variable.name);
        assert!(help.contains(&variable.unit.replace('`', "")), "{} is not in\n{help}", variable.unit);
    }
    assert!(!Arguments::command().render_help().to_string().contains("IDLE_TIMEOUT"), "-h stays short");
}

#[test]
fn the_readme_shows_the_embedding_example() {
    let example =
        fs::read_to_string(root().join("crates/proxy-core/examples/embed.rs")).expect("the example");
    let (_, code) = example.split_once("\nuse ").expect("an import");
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    assert!(readme.contains(code), "README.md should show crates/proxy-core/examples/embed.rs unchanged");
}

#[test]
fn every_test_that_the_architecture_page_names_exists() {
    let page = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("the page");
    let sources = sources(&root().join("crates"));
    let names = page.split('`').skip(1).step_by(2).filter(|name| {
        name.contains('_')
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit())
    });
    let mut count = 0;
    for name in names {
        count += 1;
        assert!(
            sources.contains(&format!("fn {name}(")),
            "docs/ARCHITECTURE.md names {name}, which is not a function"
        );
    }
    assert!(count > 20, "only {count} names were found");
}

/// Returns all Rust sources below a folder as one text.
fn sources(folder: &std::path::Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            all.push_str(&sources(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&fs::read_to_string(&entry).expect("a source"));
        }
    }
    all
}

#[test]
fn links_between_pages_lead_to_files() {
    let pages = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name));
    let folders = ["docs", "docs/adr"].map(|name| root().join(name));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("a folder"));
    let pages = entries.map(|entry| entry.expect("an entry").path()).chain(pages);
    let mut count = 0;
    for page in pages.filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(&page).expect("a page");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if !target.is_empty() && !target.contains("://") {
                count += 1;
                let file = page.with_file_name(target);
                assert!(file.exists(), "{} links to {target}, which does not exist", page.display());
            }
        }
    }
    assert!(count > 20, "only {count} links were found");
}

#[test]
fn pages_show_files_as_they_are() {
    let mut count = 0;
    for page in
        fs::read_dir(root().join("docs")).expect("a folder").map(|entry| entry.expect("an entry").path())
    {
        let Some(text) = page.is_file().then(|| fs::read_to_string(&page).expect("a page")) else { continue };
        for block in text.split("\n<!-- file: ").skip(1) {
            count += 1;
            let (path, rest) = block.split_once(" -->\n```").expect("a code block after the marker");
            let (_, code) = rest.split_once('\n').expect("the block's language");
            let (code, _) = code.split_once("\n```\n").expect("the end of the block");
            let file =
                fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(
                format!("{code}\n"),
                file,
                "{} should show {path} as it is: copy it there",
                page.display()
            );
        }
    }
    assert!(count > 5, "only {count} files were found");
}

#[test]
fn the_readme_leads_to_every_page() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    for entry in fs::read_dir(root().join("docs")).expect("the pages") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            assert!(readme.contains(&format!("(docs/{name})")), "README.md has no link to docs/{name}");
        }
    }
}

#[test]
fn each_decision_has_a_number_of_its_own() {
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(root().join("docs/adr")).expect("the decisions") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let number: u32 = name.split('-').next().and_then(|text| text.parse().ok()).expect("a number");
        assert!(numbers.insert(number), "two decisions have the number of {name}");
        let text = fs::read_to_string(&path).expect("a decision");
        assert!(text.starts_with(&format!("# {number}. ")), "{name} has another number in its title");
    }
    assert_eq!(numbers.last().copied(), Some(numbers.len() as u32), "a number is missing in docs/adr");
}

#[test]
fn the_charts_environment_is_a_valid_configuration() {
    let manifests = fs::read_to_string(root().join("deploy/install.yaml")).expect("the manifests");
    let mut variables = Vec::new();
    let mut lines = manifests.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(name) = line.trim().strip_prefix("- name: ") else { continue };
        if !name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_') {
            continue;
        }
        assert!(
            VARIABLES.iter().any(|variable| variable.name == name),
            "{name} is not a variable of the router"
        );
        // Values without text come from the downward API: the Pod's name and namespace.
        let text = lines
            .peek()
            .and_then(|line| line.trim().strip_prefix("value: "))
            .unwrap_or("from-the-downward-api");
        variables.push((name.into(), text.trim_matches('"').into()));
    }
    assert!(variables.len() > 10, "{variables:?}");
    let refusal = Config::load(None, variables.clone()).expect_err("no trusted proxy").to_string();
    assert!(refusal.contains("TRUSTED_PROXY_SECRET") && refusal.lines().count() < 5, "{refusal}");
    variables.push(("TRUSTED_PROXY_SECRET".into(), "0123456789abcdef".into()));
    let config = Config::load(None, variables).expect("a configuration");
    assert_eq!(config.notices, Vec::<String>::new(), "the chart sets no variable without effect");
}

//! Defaults < file < environment: which text each variable has, and where it comes from.

use std::{collections::BTreeMap, fs, path::Path};

use ::config::{Environment, File, FileFormat, Source, Value, ValueKind};

use super::settings::{self, Otherwise, SETTINGS};

/// What BACKEND says for sessions as Pods.
pub(super) const KUBERNETES: &str = "kubernetes";

/// The text of each variable that has one, with where it comes from.
#[derive(Debug, Clone)]
pub(super) struct Layers {
    values: BTreeMap<&'static str, (String, Origin)>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File(String),
    /// The environment.
    Environment,
}

impl Layers {
    /// Lays the environment over the file over the defaults. Variables of the environment that are none of ours
    /// are not looked at; empty ones count as not set.
    ///
    /// # Errors
    /// Sentences: the file can't be read or understood, or holds a name that is none of ours.
    pub(super) fn gather(
        file: Option<&Path>,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, Vec<String>> {
        let mut values = BTreeMap::new();
        for setting in SETTINGS {
            if let Otherwise::Is(text) = setting.default {
                values.insert(setting.name, (text.to_owned(), Origin::Default));
            }
        }
        let mut problems = Vec::new();
        if let Some(path) = file {
            read_file(path, &mut values).unwrap_or_else(|found| problems.extend(found));
        }
        let ours = environment
            .iter()
            .filter(|(name, value)| {
                SETTINGS.iter().any(|setting| setting.name == name.as_str()) && !value.trim().is_empty()
            })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let source = Environment::default().source(Some(ours));
        for (name, value) in source.collect().map_err(|error| vec![error.to_string()])? {
            if let (Some(setting), Ok(text)) = (settings::find(&name), value.into_string()) {
                values.insert(setting.name, (text.trim().to_owned(), Origin::Environment));
            }
        }
        let on_kubernetes =
            values.get("BACKEND").is_some_and(|(text, _)| text.eq_ignore_ascii_case(KUBERNETES));
        for setting in SETTINGS {
            if let Otherwise::By(local, kubernetes) = setting.default {
                let text = if on_kubernetes { kubernetes } else { local };
                values.entry(setting.name).or_insert_with(|| (text.to_owned(), Origin::Default));
            }
        }
        if problems.is_empty() { Ok(Self { values }) } else { Err(problems) }
    }

    /// The text of a variable; `None` where it has neither a value nor a fixed default.
    pub(super) fn text(&self, name: &'static str) -> Option<&str> {
        self.values.get(name).map(|(text, _)| text.as_str())
    }

    /// The text that somebody chose for it; `None` where it is the default.
    pub(super) fn chosen(&self, name: &'static str) -> Option<&str> {
        self.values.get(name).filter(|(_, origin)| *origin != Origin::Default).map(|(text, _)| text.as_str())
    }

    pub(super) fn origin(&self, name: &str) -> Origin {
        self.values.get(name).map_or(Origin::Default, |(_, origin)| origin.clone())
    }
}

fn read_file(path: &Path, values: &mut BTreeMap<&'static str, (String, Origin)>) -> Result<(), Vec<String>> {
    let shown = path.display();
    let format = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => FileFormat::Toml,
        Some("yaml" | "yml") => FileFormat::Yaml,
        _ => {
            return Err(vec![format!(
                "The configuration file {shown} must end in .toml, .yaml or .yml, so that its format is known."
            )]);
        }
    };
    let text = fs::read_to_string(path)
        .map_err(|error| vec![format!("The configuration file {shown} can't be read: {error}.")])?;
    let entries = File::from_str(&text, format).collect().map_err(|error| {
        let error = error.to_string();
        vec![format!(
            "The configuration file {shown} can't be understood: {}.",
            error.trim().trim_end_matches('.')
        )]
    })?;
    let mut problems = Vec::new();
    for (key, value) in entries {
        match settings::find(&key) {
            Some(setting) if setting.name == "CONFIG_FILE" => {
                problems.push(format!("{shown}: CONFIG_FILE in a file has no meaning. Remove it."));
            }
            Some(setting) => match flatten(value) {
                Some(text) if text.trim().is_empty() => {}
                Some(text) => {
                    values.insert(setting.name, (text.trim().to_owned(), Origin::File(shown.to_string())));
                }
                None => problems.push(format!(
                    "{shown}: {} takes one value (or a list of them), not a table.",
                    setting.name
                )),
            },
            None => problems.push(match settings::nearest(&key) {
                Some(known) => format!("{shown}: there is no variable {key:?}. Did you mean {known}?"),
                None => {
                    format!("{shown}: there is no variable {key:?}. `opencode-router --help` lists them all.")
                }
            }),
        }
    }
    problems.sort();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// One value as the text it would be in the environment; a list with commas between.
fn flatten(value: Value) -> Option<String> {
    match value.kind {
        ValueKind::Table(_) => None,
        ValueKind::Array(items) => {
            let items: Option<Vec<String>> = items.into_iter().map(flatten).collect();
            items.map(|items| items.join(","))
        }
        ValueKind::Nil => Some(String::new()),
        _ => value.into_string().ok(),
    }
}

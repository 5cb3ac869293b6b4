//! The text of each variable, and its origin: default, file or environment.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use ::config::{Environment, File, FileFormat, Source, Value, ValueKind};

use super::variables::{self, DefaultValue, VARIABLES};

/// The value of BACKEND for sessions as Pods.
pub(super) const KUBERNETES: &str = "kubernetes";

type Texts = BTreeMap<&'static str, (String, Origin)>;

/// The text of each variable that has one, with its origin.
#[derive(Debug, Clone)]
pub(super) struct Layers(Texts);

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The built-in default.
    Default,
    /// The configuration file of this path.
    File(String),
    /// The environment.
    Environment,
}

impl Layers {
    /// Lays the environment over the file over the defaults. Variables of the environment that are not the
    /// router's are ignored; empty ones count as not set.
    ///
    /// # Errors
    /// Sentences: the file can't be read or parsed, or has an unknown key.
    pub(super) fn gather(
        file: Option<&Path>,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, Vec<String>> {
        let mut texts = BTreeMap::new();
        for variable in VARIABLES {
            if let DefaultValue::Text(text) = variable.default {
                texts.insert(variable.name, (text.to_owned(), Origin::Default));
            }
        }
        if let Some(path) = file {
            read_file(path, &mut texts)?;
        }
        let ours = environment
            .iter()
            .filter(|(name, value)| {
                VARIABLES.iter().any(|variable| variable.name == name.as_str()) && !value.trim().is_empty()
            })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let source = Environment::default().source(Some(ours));
        for (name, value) in source.collect().map_err(|error| vec![error.to_string()])? {
            if let (Some(variable), Ok(text)) = (variables::find(&name), value.into_string()) {
                texts.insert(variable.name, (text.trim().to_owned(), Origin::Environment));
            }
        }
        let on_kubernetes =
            texts.get("BACKEND").is_some_and(|(text, _)| text.eq_ignore_ascii_case(KUBERNETES));
        for variable in VARIABLES {
            if let DefaultValue::ByBackend { local, kubernetes } = variable.default {
                let text = if on_kubernetes { kubernetes } else { local };
                texts.entry(variable.name).or_insert_with(|| (text.to_owned(), Origin::Default));
            }
        }
        Ok(Self(texts))
    }

    /// Returns a variable's text; `None` if it is not set and has no fixed default.
    pub(super) fn text(&self, name: &'static str) -> Option<&str> {
        self.0.get(name).map(|(text, _)| text.as_str())
    }

    /// Returns the text that the operator chose for a variable; `None` if it has its default.
    pub(super) fn chosen(&self, name: &'static str) -> Option<&str> {
        self.0.get(name).filter(|(_, origin)| *origin != Origin::Default).map(|(text, _)| text.as_str())
    }

    pub(super) fn origin(&self, name: &str) -> Origin {
        self.0.get(name).map_or(Origin::Default, |(_, origin)| origin.clone())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => f.write_str(path),
            Self::Environment => f.write_str("environment"),
        }
    }
}

fn read_file(path: &Path, texts: &mut Texts) -> Result<(), Vec<String>> {
    let shown = path.display();
    let format = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => FileFormat::Toml,
        Some("yaml" | "yml") => FileFormat::Yaml,
        _ => {
            return Err(vec![format!(
                "The configuration file {shown} must end in .toml, .yaml or .yml, which tells its format."
            )]);
        }
    };
    let text = fs::read_to_string(path)
        .map_err(|error| vec![format!("The configuration file {shown} can't be read: {error}.")])?;
    let entries = File::from_str(&text, format).collect().map_err(|error| {
        let error = error.to_string();
        let error = error.trim().trim_end_matches('.');
        vec![format!("The configuration file {shown} can't be parsed: {error}.")]
    })?;
    let mut problems = Vec::new();
    for (key, value) in entries {
        match variables::find(&key) {
            Some(variable) if variable.name == "CONFIG_FILE" => {
                problems.push(format!("{shown}: CONFIG_FILE has no effect in a file. Remove it."));
            }
            Some(variable) => match flatten(value) {
                Some(text) if text.trim().is_empty() => {}
                Some(text) => {
                    texts.insert(variable.name, (text.trim().to_owned(), Origin::File(shown.to_string())));
                }
                None => problems.push(format!(
                    "{shown}: {} must be one value or a list of values, not a table.",
                    variable.name
                )),
            },
            None => problems.push(match variables::nearest(&key) {
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

/// Converts a value of a file to the text that it would be in the environment; `None` for a table.
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

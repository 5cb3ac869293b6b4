//! The description of a variable, a row of the table in `variables`.

/// One variable.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name in the environment. A file may write it in either case.
    pub name: &'static str,
    /// Its value if it is not set.
    pub default: DefaultValue,
    /// The form of its value: a unit, a kind, or the words to choose from.
    pub unit: &'static str,
    /// What it does, in one or two sentences.
    pub about: &'static str,
    /// What it applies to.
    pub scope: Scope,
    /// Whether its value is never shown.
    pub secret: bool,
}

/// The value of a variable that is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// This text.
    Text(&'static str),
    /// A value that depends on the machine or on another variable, described in words.
    Derived(&'static str),
    /// One text for each backend.
    ByBackend {
        /// With `BACKEND=local`.
        local: &'static str,
        /// With `BACKEND=kubernetes`.
        kubernetes: &'static str,
    },
    /// None.
    Unset,
}

/// What a variable applies to. A variable that is set but has no effect is reported at startup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Both backends.
    Router,
    /// `BACKEND=local` only.
    Local,
    /// `BACKEND=kubernetes` only.
    Kubernetes,
}

impl Variable {
    /// Returns the default in words.
    #[must_use]
    pub fn default_text(&self) -> String {
        match self.default {
            DefaultValue::Text("") => "empty".to_owned(),
            DefaultValue::Text(text) => format!("`{text}`"),
            DefaultValue::Derived(words) => words.to_owned(),
            DefaultValue::ByBackend { local, kubernetes } => {
                format!("`{local}`; on Kubernetes `{kubernetes}`")
            }
            DefaultValue::Unset => "not set".to_owned(),
        }
    }

    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

impl Scope {
    pub(super) const fn variable(
        self,
        name: &'static str,
        default: DefaultValue,
        unit: &'static str,
        about: &'static str,
    ) -> Variable {
        Variable { name, default, unit, about, scope: self, secret: false }
    }
}

pub(super) const fn by_backend(local: &'static str, kubernetes: &'static str) -> DefaultValue {
    DefaultValue::ByBackend { local, kubernetes }
}

//! A user's secrets.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The names of the caller's secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretNames {
    /// Whether there is at least one.
    pub has_secret: bool,
    /// The names of the variables, sorted.
    pub keys: Vec<String>,
}

impl SecretNames {
    /// Creates the answer with these names.
    #[must_use]
    pub fn new(keys: Vec<String>) -> Self {
        Self { has_secret: !keys.is_empty(), keys }
    }
}

/// Secrets to set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetSecrets {
    /// The variables' names and values.
    #[schema(required, value_type = std::collections::BTreeMap<String, String>)]
    pub secrets: Option<std::collections::BTreeMap<String, SecretText>>,
}

/// The new value of one secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetSecret {
    /// The variable's value.
    #[schema(required, value_type = String)]
    pub value: Option<SecretText>,
}

/// A text that is never shown: `Debug` and errors leave it out.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde's own error would repeat a number.
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(text)),
            _ => Err(serde::de::Error::custom("the value of a secret must be a text")),
        }
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// The answer to a change of all secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Acknowledged {
    /// Always true.
    pub success: bool,
    /// The names that there are now, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<String>>,
}

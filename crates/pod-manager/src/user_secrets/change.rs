//! Changes of a user's secrets, as a pure function.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{name::SecretName, value::SecretValue};

/// How many secrets a user may have.
pub const MAX_SECRETS: usize = 100;
/// How long all names and values of a user may be together, in bytes. A Secret of Kubernetes holds 1 MiB, and
/// a program's arguments and environment 2 MiB.
pub const MAX_TOTAL_BYTES: usize = 128 * 1024;

/// All secrets of one user, by name. Names are those that are stored: another program may have written some
/// that are not [valid](super::SecretName).
pub type StoredSecrets = BTreeMap<String, SecretValue>;

/// A change of a user's secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretsChange {
    /// Sets these secrets; others stay as they are.
    Set(BTreeMap<SecretName, SecretValue>),
    /// Sets these secrets and removes all others.
    Replace(BTreeMap<SecretName, SecretValue>),
    /// Removes the secret of this name. Any text is accepted, since another program may have stored a name
    /// that is not valid.
    Remove(String),
    /// Removes all secrets.
    Clear,
}

impl SecretsChange {
    /// Returns whether the result does not depend on what is stored.
    #[must_use]
    pub fn replaces_all(&self) -> bool {
        matches!(self, Self::Replace(_) | Self::Clear)
    }

    /// Returns the secrets after the change.
    ///
    /// A limit that was exceeded before (another program stored more) refuses only what exceeds it further.
    ///
    /// # Errors
    /// [`SecretsError::NotFound`] for a name that is not stored, else that of the limit.
    pub fn apply(&self, before: &StoredSecrets) -> Result<StoredSecrets, SecretsError> {
        let owned = |(name, value): (&SecretName, &SecretValue)| (name.as_str().to_owned(), value.clone());
        let after = match self {
            Self::Set(secrets) => {
                let mut after = before.clone();
                after.extend(secrets.iter().map(owned));
                after
            }
            Self::Replace(secrets) => secrets.iter().map(owned).collect(),
            Self::Remove(name) => {
                let mut after = before.clone();
                after.remove(name).ok_or(SecretsError::NotFound)?;
                after
            }
            Self::Clear => StoredSecrets::new(),
        };
        if after.len() > MAX_SECRETS.max(before.len()) {
            return Err(SecretsError::TooMany);
        }
        if total_bytes(&after) > MAX_TOTAL_BYTES.max(total_bytes(before)) {
            return Err(SecretsError::TooLong);
        }
        Ok(after)
    }
}

/// Why secrets were not changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SecretsError {
    /// The user has no secret of this name.
    #[error("no such secret")]
    NotFound,
    /// The user would have more secrets than [`MAX_SECRETS`].
    #[error("a user may have at most {MAX_SECRETS} secrets")]
    TooMany,
    /// The user's names and values would be longer than [`MAX_TOTAL_BYTES`].
    #[error("all secrets of a user may have at most {} KiB", MAX_TOTAL_BYTES / 1024)]
    TooLong,
    /// The store can't be read or written.
    #[error("the store of secrets can't be read or written: {0}")]
    Store(String),
}

fn total_bytes(secrets: &StoredSecrets) -> usize {
    secrets.iter().map(|(name, value)| name.len() + value.expose().len()).sum()
}

/// Returns the names, sorted.
#[must_use]
pub fn names(secrets: &StoredSecrets) -> Vec<String> {
    secrets.keys().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::{super::value::MAX_VALUE_BYTES, *};

    fn set(secrets: &[(&str, &str)]) -> BTreeMap<SecretName, SecretValue> {
        let parse = |(name, value): &(&str, &str)| {
            (SecretName::parse(name).expect("a name"), SecretValue::parse(value).expect("a value"))
        };
        secrets.iter().map(parse).collect()
    }

    fn stored(secrets: &[(&str, &str)]) -> StoredSecrets {
        secrets
            .iter()
            .map(|(name, value)| ((*name).to_owned(), SecretValue::stored(value.as_bytes())))
            .collect()
    }

    #[test]
    fn a_change_affects_only_the_names_in_it() {
        let before = stored(&[("A", "1"), ("B", "2"), ("old.name", "3")]);
        let check = |change: SecretsChange, expected: &[(&str, &str)]| {
            assert_eq!(change.apply(&before).expect("within the limits"), stored(expected), "{change:?}");
        };
        check(
            SecretsChange::Set(set(&[("B", "new"), ("C", "4")])),
            &[("A", "1"), ("B", "new"), ("C", "4"), ("old.name", "3")],
        );
        check(SecretsChange::Replace(set(&[("C", "4")])), &[("C", "4")]);
        check(SecretsChange::Remove("old.name".into()), &[("A", "1"), ("B", "2")]);
        check(SecretsChange::Clear, &[]);
        let absent = SecretsChange::Remove("C".into()).apply(&before);
        assert!(matches!(absent, Err(SecretsError::NotFound)), "{absent:?}");
    }

    #[test]
    fn number_and_length_of_all_secrets_are_limited() {
        let names: Vec<_> = (0..=MAX_SECRETS).map(|number| format!("S_{number}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
        let apply = |change: &SecretsChange, before: &[(&str, &str)]| change.apply(&stored(before)).map(drop);
        apply(&SecretsChange::Replace(set(&many[1..])), &[]).expect("100 secrets");
        let error = apply(&SecretsChange::Set(set(&many[..1])), &many[1..]);
        assert!(matches!(error, Err(SecretsError::TooMany)), "{error:?}");

        let longest = "x".repeat(MAX_VALUE_BYTES);
        let four = [("A", &*longest), ("B", &*longest), ("C", &*longest), ("D", &longest[4..])];
        apply(&SecretsChange::Set(set(&four)), &[]).expect("128 KiB");
        let error = apply(&SecretsChange::Set(set(&[("E", "")])), &four);
        assert!(matches!(error, Err(SecretsError::TooLong)), "{error:?}");
    }

    #[test]
    fn a_limit_that_another_program_exceeded_does_not_block_smaller_changes() {
        let names: Vec<_> = (0..MAX_SECRETS + 5).map(|number| format!("S_{number}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
        let before = stored(&many);
        SecretsChange::Set(set(&[("S_1", "y")])).apply(&before).expect("a new value");
        SecretsChange::Remove("S_1".into()).apply(&before).expect("one less");
        assert!(SecretsChange::Set(set(&[("NEW", "y")])).apply(&before).is_err(), "one more");
    }
}

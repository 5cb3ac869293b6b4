//! What a secret contains.

use std::fmt;

use thiserror::Error;

/// The longest value, in bytes. Linux refuses to start a program with a variable of 128 KiB or more.
pub const MAX_VALUE_BYTES: usize = 32 * 1024;

/// The value of a secret. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Box<[u8]>);

impl SecretValue {
    /// Accepts any text without NUL, which no variable can contain. An empty text is a value.
    ///
    /// # Errors
    /// The text contains NUL or is longer than [`MAX_VALUE_BYTES`].
    pub fn parse(text: &str) -> Result<Self, InvalidSecretValue> {
        if text.len() > MAX_VALUE_BYTES {
            return Err(InvalidSecretValue::TooLong);
        }
        if text.contains('\0') {
            return Err(InvalidSecretValue::Nul);
        }
        Ok(Self(text.as_bytes().into()))
    }

    /// Wraps a value that is stored already; for backends.
    #[must_use]
    pub fn stored(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// Returns the value itself; for backends, which put it into a session's environment.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// Why a text can't be the value of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidSecretValue {
    /// The text is longer than [`MAX_VALUE_BYTES`].
    #[error("a value may have at most {} KiB", MAX_VALUE_BYTES / 1024)]
    TooLong,
    /// The text contains a NUL character.
    #[error("a value can't contain a NUL character")]
    Nul,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_without_nul_is_a_value() {
        for text in ["", " ", "s3cr3t", "-----BEGIN KEY-----\nabc\n", "$HOME `id` \"'\\", "ümläut 🦀", "a=b"]
        {
            assert_eq!(SecretValue::parse(text).map(|value| value.expose().to_vec()), Ok(text.into()));
        }
        assert_eq!(SecretValue::parse("a\0b"), Err(InvalidSecretValue::Nul));
        let longest = "x".repeat(MAX_VALUE_BYTES);
        assert!(SecretValue::parse(&longest).is_ok());
        assert_eq!(SecretValue::parse(&(longest + "x")), Err(InvalidSecretValue::TooLong));
    }

    #[test]
    fn debug_never_shows_a_value() {
        let value = SecretValue::parse("s3cr3t").expect("a value");
        assert_eq!(format!("{value:?}"), "SecretValue(…)");
    }
}

//! Users.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::{error::InvalidName, text::trim};

/// A user, identified by the e-mail address from the sign-in, trimmed and in lower case.
///
/// Spellings that differ only in case are one identity. `Debug` shows a [digest](Identity::digest) instead of
/// the address, so that it can be logged.
///
/// ```
/// use session_key::Identity;
/// assert_eq!(Identity::parse(" Alice@Example.COM ")?, Identity::parse("alice@example.com")?);
/// # Ok::<(), session_key::InvalidName>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(Box<str>);

impl Identity {
    /// Longest accepted address, in bytes (RFC 5321 §4.5.3.1.3: 256 with its angle brackets).
    pub const MAX_BYTES: usize = 254;

    /// Parses an address with text on both sides of an `@`.
    ///
    /// # Errors
    /// [`InvalidName::Email`] if the address is empty, too long, has no `@`, or contains white space, a
    /// control character, a comma (two values in one header), a `:` (it would make the hash's
    /// input ambiguous) or a non-ASCII character that lower-cases to ASCII.
    pub fn parse(email: &str) -> Result<Self, InvalidName> {
        let refuse = |why| Err(InvalidName::Email(why));
        let typed = trim(email);
        if let Some(identity) = Self::parse_plain(typed) {
            return Ok(identity);
        }
        if typed.chars().any(folds_to_ascii) {
            return refuse("contains a character that only looks like a letter from a to z");
        }
        let email = typed.to_lowercase();
        if email.is_empty() {
            return refuse("is empty");
        }
        if email.len() > Self::MAX_BYTES {
            return refuse("is longer than 254 bytes");
        }
        if email.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\u{feff}') {
            return refuse("contains white space or a control character");
        }
        if email.contains([':', ',']) {
            return refuse("contains a ':' or a ','");
        }
        match email.split_once('@') {
            Some((local, domain)) if !local.is_empty() && !domain.is_empty() => Ok(Self(email.into())),
            _ => refuse("needs a name, an '@' and a domain"),
        }
    }

    /// Parses an address of visible ASCII, as nearly all are: a proxy parses one per request.
    fn parse_plain(typed: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b':' | b',');
        let at = typed.bytes().position(|byte| byte == b'@')?;
        let is_address = 0 < at && at + 1 < typed.len() && typed.len() <= Self::MAX_BYTES;
        (is_address && typed.bytes().all(is_plain)).then(|| Self(typed.to_ascii_lowercase().into()))
    }

    /// Returns the address, trimmed and in lower case.
    #[must_use]
    pub fn email(&self) -> &str {
        &self.0
    }

    /// Returns the first 12 hexadecimal digits of the address's SHA-256, which name the user's objects, such
    /// as the Secret `opencode-user-<digest>`. The digest does not protect the address: addresses can be
    /// guessed and hashed.
    #[must_use]
    pub fn digest(&self) -> String {
        hex::encode(&Sha256::digest(self.0.as_bytes())[..6])
    }
}

/// Whether a non-ASCII character has ASCII in its lower case (U+212A KELVIN SIGN, U+0130): two addresses
/// could become one.
fn folds_to_ascii(c: char) -> bool {
    !c.is_ascii() && c.to_lowercase().any(|lower| lower.is_ascii())
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity(#{})", self.digest())
    }
}

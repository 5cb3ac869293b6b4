use std::fmt;

use sha2::{Digest, Sha256};

use crate::{InvalidName, text::trim};

/// A person, known by the e-mail address that the sign-in gave; trimmed and in lower case.
///
/// Two spellings of one address are one identity. `Debug` shows a [digest](Identity::digest), not
/// the address, so that it may stand in logs.
///
/// ```
/// use session_key::Identity;
/// assert_eq!(Identity::parse(" Alice@Example.COM ")?, Identity::parse("alice@example.com")?);
/// # Ok::<(), session_key::InvalidName>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(Box<str>);

impl Identity {
    /// Longest address taken, in bytes (RFC 5321 §4.5.3.1.3: 256 with its angle brackets).
    pub const MAX_BYTES: usize = 254;

    /// Takes an address with something on both sides of an `@`.
    ///
    /// # Errors
    /// [`InvalidName::Email`] where it is empty, too long, has no `@`, or holds white space, a
    /// control character, a comma (two values in one header), a `:` (it would make the hash
    /// input ambiguous) or a non-ASCII character that lower-cases to ASCII.
    pub fn parse(email: &str) -> Result<Self, InvalidName> {
        let refuse = |why| Err(InvalidName::Email(why));
        let typed = trim(email);
        if typed.chars().any(folds_to_ascii) {
            return refuse("holds a character that only looks like a letter from a to z");
        }
        let email = typed.to_lowercase();
        if email.is_empty() {
            return refuse("is empty");
        }
        if email.len() > Self::MAX_BYTES {
            return refuse("is longer than 254 bytes");
        }
        if email.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\u{feff}') {
            return refuse("holds white space or a control character");
        }
        if email.contains([':', ',']) {
            return refuse("holds a ':' or a ','");
        }
        match email.split_once('@') {
            Some((local, domain)) if !local.is_empty() && !domain.is_empty() => Ok(Self(email.into())),
            _ => refuse("needs a name, an '@' and a domain"),
        }
    }

    /// The address, trimmed and in lower case.
    #[must_use]
    pub fn email(&self) -> &str {
        &self.0
    }

    /// The first 12 hexadecimal digits of the address's SHA-256: names the user's objects, such as
    /// the Secret `opencode-user-<digest>`. It hides the address from a glance only: addresses can be
    /// guessed and hashed.
    #[must_use]
    pub fn digest(&self) -> String {
        hex::encode(&Sha256::digest(self.0.as_bytes())[..6])
    }
}

/// Whether a character outside of ASCII has ASCII in its lower case (U+212A KELVIN SIGN, U+0130): in lower case, two
/// addresses would be one.
fn folds_to_ascii(c: char) -> bool {
    !c.is_ascii() && c.to_lowercase().any(|lower| lower.is_ascii())
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity(#{})", self.digest())
    }
}

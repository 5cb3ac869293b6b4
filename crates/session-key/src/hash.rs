use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};

use crate::{GitRef, Identity, InvalidName, RepoUrl};

/// The key of a session: 12 lower-case hexadecimal digits, used in host and object names.
///
/// It is a name, not a secret: whoever knows the three parts can compute it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionHash([u8; 6]);

impl SessionHash {
    /// Digits in a hash.
    pub const LEN: usize = 12;

    /// The key of (user, repository, branch):
    /// `sha256(email + ":" + repoUrl + ":" + branch)`, its first 12 hexadecimal digits.
    ///
    /// Neither an [`Identity`] nor a [`GitRef`] can hold a `:`, so different triples are different input.
    #[must_use]
    pub fn of(who: &Identity, repo: &RepoUrl, branch: &GitRef) -> Self {
        let digest = Sha256::new()
            .chain_update(who.email())
            .chain_update(":")
            .chain_update(repo.as_str())
            .chain_update(":")
            .chain_update(branch.as_str())
            .finalize();
        let mut bytes = [0; 6];
        bytes.copy_from_slice(&digest[..6]);
        Self(bytes)
    }

    /// The key of a session without a repository, from random bytes of the caller's; it is kept from
    /// then on.
    #[must_use]
    pub fn from_bytes(random: [u8; 6]) -> Self {
        Self(random)
    }

    /// Takes 12 hexadecimal digits, of either case (host names have none).
    ///
    /// # Errors
    /// [`InvalidName::Hash`] for anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let mut bytes = [0; 6];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidName::Hash)?;
        Ok(Self(bytes))
    }
}

impl FromStr for SessionHash {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text)
    }
}

impl fmt::Display for SessionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

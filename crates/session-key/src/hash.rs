//! The key of a session.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};

use crate::{error::InvalidName, git_ref::GitRef, identity::Identity, repo::RepoUrl};

/// The key of a session: 12 lower-case hexadecimal digits, used in host and object names.
///
/// It is not a secret: anyone who knows the owner, the repository and the branch can compute it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionHash([u8; 6]);

impl SessionHash {
    /// The number of digits in a hash.
    pub const LEN: usize = 12;

    /// Returns the key of (owner, repository, branch): the first 12 hexadecimal digits of
    /// `sha256(email + ":" + repoUrl + ":" + branch)`.
    ///
    /// Neither an [`Identity`] nor a [`GitRef`] contains a `:`, so different triples give different input.
    #[must_use]
    pub fn of(owner: &Identity, repo: &RepoUrl, branch: &GitRef) -> Self {
        let digest = Sha256::new()
            .chain_update(owner.email())
            .chain_update(":")
            .chain_update(repo.as_str())
            .chain_update(":")
            .chain_update(branch.as_str())
            .finalize();
        let mut bytes = [0; 6];
        bytes.copy_from_slice(&digest[..6]);
        Self(bytes)
    }

    /// Returns the key of a session without a repository, from random bytes that the caller generates and
    /// keeps.
    #[must_use]
    pub fn from_bytes(random: [u8; 6]) -> Self {
        Self(random)
    }

    /// Returns the bytes that the digits stand for.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 6] {
        self.0
    }

    /// Parses 12 hexadecimal digits, in upper or lower case (host names are case-insensitive).
    ///
    /// # Errors
    /// [`InvalidName::Hash`] for any other text.
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

//! The error of every parser in this crate.

use thiserror::Error;

/// Why a text is not a valid name.
///
/// `Display` is written for the person who typed the text. It never repeats the text, which may contain a
/// credential.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// Not an e-mail address.
    #[error("the e-mail address {0}")]
    Email(&'static str),
    /// Not a repository address, or of a kind that the [`RepoPolicy`](crate::RepoPolicy) does not allow.
    #[error("the repository address {0}")]
    Repo(&'static str),
    /// Not a branch name (`git check-ref-format --branch`).
    #[error("the branch name {0}")]
    Ref(&'static str),
    /// Not 12 hexadecimal digits.
    #[error("a session hash has 12 hexadecimal digits (0-9, a-f)")]
    Hash,
    /// The parts of a host-name scheme are invalid or do not fit together.
    #[error("the host name scheme: {0}")]
    Scheme(&'static str),
}

use thiserror::Error;

/// Why a text is not a name of the kind asked for.
///
/// `Display` is a sentence for the person who typed the text; it never repeats the text itself,
/// which may hold a credential.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// Not an e-mail address as the sign-in gives it.
    #[error("the e-mail address {0}")]
    Email(&'static str),
    /// Not a repository address, or one of a kind that the [`crate::RepoPolicy`] does not allow.
    #[error("the repository address {0}")]
    Repo(&'static str),
    /// Not a branch name (`git check-ref-format --branch`).
    #[error("the branch name {0}")]
    Ref(&'static str),
    /// Not twelve hexadecimal digits.
    #[error("a session hash has 12 hexadecimal digits (0-9, a-f)")]
    Hash,
    /// The parts of a host-name scheme do not fit together.
    #[error("the host name scheme: {0}")]
    Scheme(&'static str),
}

//! Why a command was not carried out.

use std::time::Duration;

use thiserror::Error;

use super::start_limiter::TooManyStarts;
use crate::backend::BackendError;

/// Why a command was not carried out.
#[derive(Debug, Error)]
pub enum ManagerError {
    /// The session does not exist, or belongs to another user.
    #[error("no such session")]
    NotFound,
    /// The backend cannot carry it out now; trying again may work.
    #[error("the session backend is unavailable")]
    Unavailable(#[source] BackendError),
    /// The user has as many sessions as one user may have.
    #[error("the limit of {max} {} sessions is reached", .limit.as_str())]
    LimitReached {
        /// Which limit.
        limit: Limit,
        /// How many are allowed.
        max: usize,
    },
    /// The user starts sessions too often.
    #[error("the limit of {max_per_minute} starts per minute is reached")]
    TooManyStarts {
        /// How many starts per minute are allowed.
        max_per_minute: u32,
        /// When the next start is allowed.
        retry_after: Duration,
    },
    /// The session's hash is taken by a session of another user, repository or branch.
    #[error("the key of this repository and branch is taken by another session")]
    Conflict,
    /// The session has as many attach tokens as it may have.
    #[error("the session has as many attach tokens as it may have")]
    TooManyAttachTokens,
    /// No space is left where sessions are stored.
    #[error("no space is left where sessions are stored")]
    DiskFull,
}

/// What is limited for each user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Sessions that exist.
    Kept,
    /// Sessions that run or start.
    Running,
}

impl Limit {
    /// Returns the adjective of the sessions that are limited.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Running => "running",
        }
    }
}

impl From<BackendError> for ManagerError {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::NotFound => Self::NotFound,
            BackendError::DiskFull(_) => Self::DiskFull,
            BackendError::Conflict => Self::Conflict,
            BackendError::TooManyAttachTokens => Self::TooManyAttachTokens,
            other => Self::Unavailable(other),
        }
    }
}

impl From<TooManyStarts> for ManagerError {
    fn from(error: TooManyStarts) -> Self {
        let TooManyStarts { max_per_minute, retry_after } = error;
        Self::TooManyStarts { max_per_minute, retry_after }
    }
}

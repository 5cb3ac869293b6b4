//! A user's secrets: variables that each of their sessions has in its environment from its next start on.
//!
//! - [`UserSecrets`] stores them. Every backend has one; what it promises is in the backend contract.
//! - [`SecretName`] says which variables a user may set, [`SecretValue`] what they may contain.
//! - [`SecretsChange`] is a change, and `apply` (pure) its result, limits included.
//!
//! A value goes in and never out again, except into a session's environment: there is no method that returns
//! one.
//!
//! ```
//! # use pod_manager::{SecretName, SecretValue, SecretsChange, SecretsError, UserSecrets};
//! # use session_key::Identity;
//! # async fn example(secrets: &dyn UserSecrets, user: &Identity) -> Result<(), Box<dyn std::error::Error>> {
//! let token = (SecretName::parse("NPM_TOKEN")?, SecretValue::parse("npm_abc")?);
//! let names = secrets.change(user, SecretsChange::Set([token].into())).await?;
//! assert_eq!(names, ["NPM_TOKEN"]);
//! # Ok(()) }
//! ```

mod change;
mod name;
mod value;

use async_trait::async_trait;
use session_key::Identity;
use thiserror::Error;

pub use change::{MAX_SECRETS, MAX_TOTAL_BYTES, SecretsChange, names};
pub use name::{InvalidSecretName, MAX_NAME_BYTES, SecretName};
pub use value::{InvalidSecretValue, MAX_VALUE_BYTES, SecretValue};

use crate::backend::BackendError;

/// All secrets of one user, by name. Names are those that are stored: another program may have written some
/// that are not [valid](SecretName).
pub type StoredSecrets = std::collections::BTreeMap<String, SecretValue>;

/// Stores the secrets of users.
#[async_trait]
pub trait UserSecrets: Send + Sync + 'static {
    /// Returns the names of the user's secrets, sorted. A user without any is no error.
    ///
    /// # Errors
    /// [`BackendError`] if the store can't be read.
    async fn names(&self, user: &Identity) -> Result<Vec<String>, BackendError>;

    /// Changes the user's secrets, and returns the names that there are then, sorted. Sessions that run keep
    /// what they were started with.
    ///
    /// Changes take effect one after another, also those of several routers: a change never undoes another
    /// one of other names.
    ///
    /// # Errors
    /// [`SecretsError`]; then nothing was changed.
    async fn change(&self, user: &Identity, change: SecretsChange) -> Result<Vec<String>, SecretsError>;
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
    #[error(transparent)]
    Backend(#[from] BackendError),
}

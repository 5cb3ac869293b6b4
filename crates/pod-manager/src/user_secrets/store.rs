//! The store of users' secrets, which every backend has.

use async_trait::async_trait;
use session_key::Identity;

use super::change::{SecretsChange, SecretsError};

/// Stores the secrets of users.
#[async_trait]
pub trait UserSecrets: Send + Sync + 'static {
    /// Returns the names of the user's secrets, sorted. A user without any is no error.
    ///
    /// # Errors
    /// [`SecretsError::Store`] if the store can't be read.
    async fn names(&self, user: &Identity) -> Result<Vec<String>, SecretsError>;

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

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
mod store;
mod value;

pub use change::{MAX_SECRETS, MAX_TOTAL_BYTES, SecretsChange, SecretsError, StoredSecrets, names};
pub use name::{InvalidSecretName, MAX_NAME_BYTES, SecretName};
pub use store::UserSecrets;
pub use value::{InvalidSecretValue, MAX_VALUE_BYTES, SecretValue};

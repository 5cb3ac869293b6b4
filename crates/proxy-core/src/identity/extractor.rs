//! The policy of [`crate::Identify`].

use std::sync::Arc;

use http::request::Parts;
use session_key::Identity;
use thiserror::Error;

/// Identifies the user who sends a request. The user may be of any type, by default a
/// [`session_key::Identity`].
///
/// An extractor removes the headers that it read, so that they are not passed on; [`crate::Forward`] removes
/// the other known identity and token headers. An extractor that trusts a user's token puts it into the
/// request's extensions, as an [`crate::AccessToken`].
pub trait IdentityExtractor<I = Identity>: Send + Sync + 'static {
    /// Returns the user.
    ///
    /// # Errors
    /// [`IdentifyError`] if the request names no user, or one that is not trusted.
    fn identify(&self, parts: &mut Parts) -> Result<I, IdentifyError>;
}

impl<I, T: IdentityExtractor<I> + ?Sized> IdentityExtractor<I> for Arc<T> {
    fn identify(&self, parts: &mut Parts) -> Result<I, IdentifyError> {
        (**self).identify(parts)
    }
}

impl<I, T: IdentityExtractor<I> + ?Sized> IdentityExtractor<I> for Box<T> {
    fn identify(&self, parts: &mut Parts) -> Result<I, IdentifyError> {
        (**self).identify(parts)
    }
}

/// Why the user cannot be identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdentifyError {
    /// The request names no user, or not in a trusted way.
    #[error("no trusted identity")]
    Missing,
    /// The request names two users, or one in a spelling that another server could read differently: 400.
    #[error("more than one identity, or one in an ambiguous spelling")]
    Ambiguous,
}

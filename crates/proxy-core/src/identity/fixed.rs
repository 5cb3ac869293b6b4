//! One user for all requests.

use http::request::Parts;
use session_key::Identity;

use super::extractor::{IdentifyError, IdentityExtractor};
use crate::headers::remove_identity_headers;

/// Identifies every request as this one user's: for a single user's machine, with listeners on loopback only.
#[derive(Debug, Clone)]
pub struct FixedIdentity<I = Identity>(pub I);

impl<I: Clone + Send + Sync + 'static> IdentityExtractor<I> for FixedIdentity<I> {
    fn identify(&self, parts: &mut Parts) -> Result<I, IdentifyError> {
        remove_identity_headers(&mut parts.headers);
        Ok(self.0.clone())
    }
}

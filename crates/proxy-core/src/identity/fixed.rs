use http::request::Parts;
use session_key::Identity;

use super::{IdentifyError, IdentityExtractor, strip};

/// Everybody is this one user: a laptop, where only loopback listens.
#[derive(Debug, Clone)]
pub struct FixedIdentity(pub Identity);

impl IdentityExtractor for FixedIdentity {
    fn identify(&self, parts: &mut Parts) -> Result<Identity, IdentifyError> {
        strip(&mut parts.headers);
        Ok(self.0.clone())
    }
}

//! Who asks.

mod fixed;
mod trusted_headers;

use http::{HeaderMap, request::Parts};
use session_key::Identity;
use thiserror::Error;

pub use fixed::FixedIdentity;
pub use trusted_headers::TrustedHeaders;

/// Tells who sends a request. It removes what it read, so that it cannot travel on; whatever it leaves of
/// the known identity and token headers `Forward` removes as well.
pub trait IdentityExtractor: Send + Sync + 'static {
    /// Who it is.
    ///
    /// # Errors
    /// [`Unidentified`] where that can't be told, or may not be believed.
    fn identify(&self, parts: &mut Parts) -> Result<Identity, Unidentified>;
}

/// Why it can't be told who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unidentified {
    /// Nobody signed in, or not by a way that counts.
    #[error("no identity that counts")]
    Missing,
    /// Two identities, or one in a spelling that another server could read differently: 400.
    #[error("more than one identity, or one in a header of doubtful spelling")]
    Ambiguous,
}

/// Removes every header that sign-in proxies use for identity and tokens, in any spelling.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let known = |name: &str| {
        const PREFIX: &str = "x-auth-request-";
        const OTHERS: [&str; 9] = [
            "x-forwarded-access-token",
            "x-forwarded-email",
            "x-forwarded-groups",
            "x-forwarded-preferred-username",
            "x-forwarded-user",
            "x-auth-token",
            "x-id-token",
            "cf-access-jwt-assertion",
            "cf-access-authenticated-user-email",
        ];
        name.starts_with(PREFIX) || OTHERS.contains(&name)
    };
    let found: Vec<_> = headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            name.starts_with(['x', 'c'])
                && (known(name) || (name.contains('_') && known(&name.replace('_', "-"))))
        })
        .cloned()
        .collect();
    for name in found {
        headers.remove(name);
    }
}

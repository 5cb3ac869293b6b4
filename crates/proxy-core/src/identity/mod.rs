//! Who asks.

mod access_token;
mod fixed;
mod trusted_headers;

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};
use session_key::Identity;
use thiserror::Error;

pub use access_token::AccessToken;
pub use fixed::FixedIdentity;
pub use trusted_headers::TrustedHeaders;

/// Tells who sends a request. It removes what it read, so that it cannot travel on; whatever it leaves of
/// the known identity and token headers `Forward` removes as well. A token of the user's that it believes it puts
/// into the extensions, as an [`AccessToken`].
pub trait IdentityExtractor: Send + Sync + 'static {
    /// Who it is.
    ///
    /// # Errors
    /// [`IdentifyError`] where that can't be told, or may not be believed.
    fn identify(&self, parts: &mut Parts) -> Result<Identity, IdentifyError>;
}

/// Why it can't be told who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IdentifyError {
    /// Nobody signed in, or not by a way that counts.
    #[error("no identity that counts")]
    Missing,
    /// Two identities, or one in a spelling that another server could read differently: 400.
    #[error("more than one identity, or one in a header of doubtful spelling")]
    Ambiguous,
}

/// Removes every header that sign-in proxies use for identity and tokens, in any spelling.
pub(crate) fn strip(headers: &mut HeaderMap) {
    remove_headers(headers, |name| {
        name.starts_with(['c', 'r', 'x']) && is_identity_header(&normalize_name(name))
    });
}

/// Removes the headers whose name is `unwanted`.
pub(crate) fn remove_headers(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let unwanted: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
    for name in unwanted {
        headers.remove(name);
    }
}

/// The header's value, where it is there once.
fn single_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

/// The name as servers read it that take `_` for `-`.
pub(crate) fn normalize_name(name: &str) -> Cow<'_, str> {
    if name.contains('_') { name.replace('_', "-").into() } else { name.into() }
}

/// Whether a sign-in proxy says with it who asks, or hands on a token of theirs.
pub(crate) fn is_identity_header(name: &str) -> bool {
    const PREFIXES: [&str; 11] = [
        "cf-access-",
        "x-amzn-oidc-",
        "x-auth-request-",
        "x-authentik-",
        "x-goog-authenticated-user-",
        "x-ms-client-principal",
        "x-ms-token-",
        "x-pomerium-",
        "x-remote-",
        "x-vouch-",
        "x-webauth-",
    ];
    matches!(
        name,
        "remote-email"
            | "remote-groups"
            | "remote-name"
            | "remote-user"
            | "x-access-token"
            | "x-auth-token"
            | "x-forwarded-access-token"
            | "x-forwarded-email"
            | "x-forwarded-groups"
            | "x-forwarded-preferred-username"
            | "x-forwarded-user"
            | "x-goog-iap-jwt-assertion"
            | "x-id-token"
            | "x-userinfo"
    ) || (name.starts_with(['c', 'x']) && PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

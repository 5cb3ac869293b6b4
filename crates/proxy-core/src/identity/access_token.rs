//! The user's token at the place where they signed in.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::headers::single_value;

/// The headers in which proxies pass on a user's token, by precedence: oauth2-proxy's in its two modes, and
/// one of older set-ups.
const HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-auth-request-access-token"),
    HeaderName::from_static("x-auth-request-token"),
    HeaderName::from_static("x-forwarded-access-token"),
];

/// The user's token at the place where they signed in, as the sign-in proxy passed it on: an extension of
/// requests that carry one. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(HeaderValue);

impl AccessToken {
    /// Returns the token, if it is visible ASCII.
    #[must_use]
    pub fn expose(&self) -> Option<&str> {
        self.0.to_str().ok()
    }

    /// Reads the first of [`HEADERS`] that is set. One that occurs twice is ignored: its owner is unknown.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let name = HEADERS.into_iter().find(|name| headers.contains_key(name))?;
        let value = single_value(headers, &name)?;
        (!value.is_empty()).then(|| Self(value.clone()))
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(…)")
    }
}

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The headers that hand a user's token on: oauth2-proxy's in its two modes, and one of older set-ups. The first one
/// found counts.
const HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-auth-request-access-token"),
    HeaderName::from_static("x-auth-request-token"),
    HeaderName::from_static("x-forwarded-access-token"),
];

/// The user's own token at the place where they signed in, as the sign-in proxy handed it on. It is among a request's
/// extensions where there is one, and `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(HeaderValue);

impl AccessToken {
    /// The token; `None` where it is no text.
    #[must_use]
    pub fn expose(&self) -> Option<&str> {
        self.0.to_str().ok()
    }

    /// The first one found. A header that is there twice counts for nothing: it can't be told whose it is.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let name = HEADERS.into_iter().find(|name| headers.contains_key(name))?;
        let value = super::single_value(headers, &name)?;
        (!value.is_empty()).then(|| Self(value.clone()))
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(…)")
    }
}

//! The groups that a user belongs to at the place where they signed in.

use http::{HeaderMap, HeaderName};

use crate::headers::single_value;

/// oauth2-proxy's header, with the groups of the user's token, separated by commas.
const HEADER: HeaderName = HeaderName::from_static("x-auth-request-groups");

/// The user's groups, as the sign-in proxy passed them on: an extension of requests that carry some.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups(Vec<Box<str>>);

impl Groups {
    /// Returns whether the user belongs to the group. Names are compared byte by byte.
    #[must_use]
    pub fn contains(&self, group: &str) -> bool {
        self.0.iter().any(|own| **own == *group)
    }

    /// Reads `X-Auth-Request-Groups`. A header that occurs twice is ignored: one of the two may be the
    /// client's.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let text = single_value(headers, &HEADER)?.to_str().ok()?;
        let groups: Vec<_> =
            text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(Box::from).collect();
        (!groups.is_empty()).then_some(Self(groups))
    }
}

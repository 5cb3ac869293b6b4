//! Who sends a request: the policy ([`extractor`]), its two implementations, and the user's access token.

pub(crate) mod access_token;
pub(crate) mod extractor;
pub(crate) mod fixed;
pub(crate) mod groups;
pub(crate) mod trusted_headers;

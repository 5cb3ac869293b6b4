//! Reading and removing headers, and which of them name a user or hold a user's token.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Returns the header's value, if the header occurs exactly once.
pub(crate) fn single_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

/// Whether the value of `Content-Type` says that the body is an event stream.
pub(crate) fn is_event_stream(value: &HeaderValue) -> bool {
    let media_type = value.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

/// Removes the headers whose name is `unwanted`.
pub(crate) fn remove_headers(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let unwanted: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
    for name in unwanted {
        headers.remove(name);
    }
}

/// Removes every header that sign-in proxies use for identities and tokens, in any spelling.
pub(crate) fn remove_identity_headers(headers: &mut HeaderMap) {
    remove_headers(headers, |name| {
        name.starts_with(['c', 'r', 'x']) && is_identity_header(&normalize_name(name))
    });
}

/// Returns the name as servers read it that treat `_` as `-`.
pub(crate) fn normalize_name(name: &str) -> Cow<'_, str> {
    if name.contains('_') { name.replace('_', "-").into() } else { name.into() }
}

/// Whether a sign-in proxy names the user or passes on a user's token in this header.
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

//! The token of a request.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, header};

/// Returns the token in `Authorization`: the password of Basic with any user name, as `opencode attach
/// --password` sends it, or Bearer. It is read from nowhere else: an address is kept in logs and histories.
/// Of two such headers neither is read.
pub(super) fn secret(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter().map(HeaderValue::as_bytes);
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let space = value.iter().position(|&byte| byte == b' ')?;
    let (scheme, rest) = (&value[..space], value[space..].trim_ascii());
    let secret = if scheme.eq_ignore_ascii_case(b"bearer") {
        rest.to_vec()
    } else if scheme.eq_ignore_ascii_case(b"basic") {
        let mut pair = BASE64_STANDARD.decode(rest).ok()?;
        // The user name has no colon, the password may have some (RFC 7617 §2).
        let colon = pair.iter().position(|&byte| byte == b':')?;
        pair.split_off(colon + 1)
    } else {
        return None;
    };
    (!secret.is_empty()).then_some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[&str], expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        assert_eq!(secret(&headers).as_deref(), expected.map(str::as_bytes), "{values:?}");
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(text))
    }

    #[test]
    fn a_token_is_the_password_of_basic_or_a_bearer_token() {
        check(&[&basic("opencode:token")], Some("token"));
        check(&[&basic(":token")], Some("token"));
        check(&[&basic("any:to:ken")], Some("to:ken"));
        check(&["Bearer token"], Some("token"));
        check(&["bearer  token"], Some("token"));
    }

    #[test]
    fn anything_else_is_no_token() {
        check(&[], None);
        check(&[&basic("token")], None);
        check(&[&basic("opencode:")], None);
        check(&["Bearer "], None);
        check(&["token"], None);
        check(&["Digest username=\"x\""], None);
        check(&["Basic !"], None);
        check(&["Bearer one", "Bearer two"], None);
    }
}

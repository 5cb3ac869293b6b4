//! `TrustedHeaders`: when its headers are trusted, and what it leaves.

use std::net::SocketAddr;

use http::{HeaderName, Request, request::Parts};
use proxy_core::{AccessToken, IdentifyError, IdentityExtractor, PeerAddr, TrustedHeaders};

fn parts(peer: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder();
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut parts = request.body(()).unwrap().into_parts().0;
    parts.extensions.insert(PeerAddr(SocketAddr::new(peer.parse().unwrap(), 1)));
    parts
}

fn check(
    trusted: &TrustedHeaders,
    peer: &str,
    headers: &[(&str, &str)],
    expected: Result<&str, IdentifyError>,
) {
    let mut parts = parts(peer, headers);
    let identity = trusted.identify(&mut parts);
    assert_eq!(
        identity.as_ref().map(|identity| identity.email()).map_err(|error| *error),
        expected,
        "{peer} {headers:?}"
    );
    let left: Vec<_> = parts.headers.keys().filter(|name| name.as_str() != "accept").collect();
    assert!(left.is_empty(), "{left:?} would be forwarded");
}

const EMAIL: &str = "X-Auth-Request-Email";

#[test]
fn the_email_header_is_trusted_only_from_trusted_peers() {
    let trusted =
        TrustedHeaders::from_peers(vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()]);
    let alice = [(EMAIL, " Alice@Example.com"), ("accept", "*/*")];
    check(&trusted, "10.1.2.3", &alice, Ok("alice@example.com"));
    check(&trusted, "::ffff:10.1.2.3", &alice, Ok("alice@example.com"));
    check(&trusted, "fd00::1", &alice, Ok("alice@example.com"));
    check(&trusted, "10.2.0.1", &alice, Err(IdentifyError::Missing));
    check(&trusted, "10.1.2.3", &[], Err(IdentifyError::Missing));
    check(&trusted, "10.1.2.3", &[(EMAIL, "")], Err(IdentifyError::Missing));
    check(&TrustedHeaders::from_peers(vec![]), "127.0.0.1", &alice, Err(IdentifyError::Missing));
}

#[test]
fn a_configured_secret_is_required_as_well() {
    let header = HeaderName::from_static("x-router-secret");
    let both =
        TrustedHeaders::from_peers(vec!["10.0.0.0/8".parse().unwrap()]).with_secret(header.clone(), "s3cret");
    let given = |secret| [(EMAIL, "a@b"), ("x-router-secret", secret)];
    check(&both, "10.0.0.1", &given("s3cret"), Ok("a@b"));
    check(&both, "10.0.0.1", &given("s3creT"), Err(IdentifyError::Missing));
    check(&both, "10.0.0.1", &[(EMAIL, "a@b")], Err(IdentifyError::Missing));
    check(&both, "11.0.0.1", &given("s3cret"), Err(IdentifyError::Missing));
    let alone = TrustedHeaders::from_peers(vec![]).with_secret(header, "s3cret");
    check(&alone, "8.8.8.8", &given("s3cret"), Ok("a@b"));
    check(
        &alone,
        "8.8.8.8",
        &[(EMAIL, "a@b"), ("x-router-secret", "s3cret"), ("x-router-secret", "x")],
        Err(IdentifyError::Missing),
    );
    assert!(!format!("{alone:?}").contains("s3cret"));
    let none = TrustedHeaders::from_peers(vec![]).with_secret(HeaderName::from_static("x-router-secret"), "");
    check(&none, "8.8.8.8", &given(""), Err(IdentifyError::Missing));
}

#[test]
fn the_secrets_header_is_removed_in_any_spelling() {
    let trusted =
        TrustedHeaders::from_peers(vec![]).with_secret(HeaderName::from_static("x-router-secret"), "s3cret");
    let secret = ("x-router-secret", "s3cret");
    check(&trusted, "8.8.8.8", &[(EMAIL, "a@b"), secret, ("X_Router_Secret", "s3cret")], Ok("a@b"));
    check(&trusted, "8.8.8.8", &[(EMAIL, "a@b"), ("x-router_secret", "s3cret")], Err(IdentifyError::Missing));
}

#[test]
fn two_users_in_one_request_are_ambiguous() {
    let trusted = TrustedHeaders::from_peers(vec!["127.0.0.0/8".parse().unwrap()]);
    check(&trusted, "127.0.0.1", &[(EMAIL, "a@b"), (EMAIL, "c@d")], Err(IdentifyError::Ambiguous));
    check(&trusted, "127.0.0.1", &[(EMAIL, "a@b"), (EMAIL, "a@b")], Err(IdentifyError::Ambiguous));
    check(&trusted, "127.0.0.1", &[(EMAIL, "a@b,c@d")], Err(IdentifyError::Ambiguous));
    for alias in ["X_Auth_Request_Email", "X-Auth_Request-Email", "x_auth-request-email"] {
        check(&trusted, "127.0.0.1", &[(EMAIL, "a@b"), (alias, "c@d")], Err(IdentifyError::Ambiguous));
        check(&trusted, "127.0.0.1", &[(alias, "c@d")], Err(IdentifyError::Ambiguous));
    }
}

#[test]
fn the_access_token_is_trusted_only_with_the_user() {
    let trusted = TrustedHeaders::from_peers(vec!["10.0.0.0/8".parse().unwrap()]);
    let check = |peer: &str, headers: &[(&str, &str)], expected: Option<&str>| {
        let mut parts = parts(peer, headers);
        let _ = trusted.identify(&mut parts);
        let token = parts.extensions.get::<AccessToken>();
        assert_eq!(token.and_then(AccessToken::expose), expected, "{peer} {headers:?}");
        assert!(parts.headers.is_empty(), "{:?} would be forwarded", parts.headers.keys());
        assert!(!format!("{:?}", parts.extensions.get::<AccessToken>()).contains("gho_"));
    };
    let (email, first) = ((EMAIL, "a@b"), ("X-Auth-Request-Access-Token", "gho_1"));
    let (second, third) = (("X-Auth-Request-Token", "gho_2"), ("X-Forwarded-Access-Token", "gho_3"));
    check("10.0.0.1", &[email, first], Some("gho_1"));
    check("10.0.0.1", &[email, second], Some("gho_2"));
    check("10.0.0.1", &[email, third], Some("gho_3"));
    check("10.0.0.1", &[third, second, email, first], Some("gho_1"));
    check("10.0.0.1", &[email], None);
    check("10.0.0.1", &[email, ("X-Auth-Request-Access-Token", "")], None);
    check("10.0.0.1", &[email, first, ("X-Auth-Request-Access-Token", "gho_4")], None);
    check("10.0.0.1", &[first], None);
    check("11.0.0.1", &[email, first], None);
}

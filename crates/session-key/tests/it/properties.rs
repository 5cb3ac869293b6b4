//! Properties of parsing and rendering.
#![expect(clippy::unwrap_used, reason = "a strategy of known values")]

use proptest::prelude::*;
use session_key::{
    GitRef, HostScheme, Identity, RepoPolicy, RepoUrl, Route, SessionHash, SessionRoute, Target,
};

/// Names that are nearly those of sessions.
const HOST: &str =
    "[0-9a-f-]{0,8}[0-9a-f]{12}(-oc|ab|-5173|\\.oc)?\\.(example\\.org|localhost|a\\.b\\.c|0\\.abc)";
/// Texts that are nearly URLs.
const NEAR_URL: &str = "(https?|ssh|file|ext)?:{0,2}/{0,3}[a-z@:\\[\\]%-]{0,12}/?[a-z ?#-]{0,8}";

fn scheme() -> impl Strategy<Value = HostScheme> {
    let domain = prop_oneof![Just("example.org"), Just("localhost:3000"), Just("a.b.c:8443"), Just("0.abc")];
    let suffix = prop_oneof![Just(""), Just("-oc"), Just("-5173"), Just("ab"), Just(".oc")];
    let attach = prop_oneof![Just("attach-"), Just("a"), Just("x-5173-"), Just("abcdefabcdef")];
    (domain, suffix, attach)
        .prop_map(|(domain, suffix, attach)| HostScheme::new(domain, suffix, attach).unwrap())
}

fn route() -> impl Strategy<Value = SessionRoute> {
    let target =
        prop_oneof![Just(Target::Opencode), Just(Target::Attach), (1024..=u16::MAX).prop_map(Target::Port)];
    (any::<[u8; 6]>(), target)
        .prop_map(|(bytes, target)| SessionRoute { hash: SessionHash::from_bytes(bytes), target })
}

proptest! {
    #[test]
    fn a_rendered_name_parses_to_its_route(scheme in scheme(), route in route()) {
        let host = scheme.render(&route);
        prop_assert_eq!(scheme.parse(&host), Route::Session(route));
        prop_assert_eq!(scheme.parse(&host.to_uppercase()), Route::Session(route));
    }

    #[test]
    fn a_name_that_parses_as_a_session_is_its_rendered_name(scheme in scheme(), host in HOST) {
        if let Route::Session(route) = scheme.parse(&host) {
            let rendered = scheme.render(&route);
            prop_assert_eq!(rendered.split(':').next().unwrap(), host);
        }
    }

    #[test]
    fn parsing_never_panics(scheme in scheme(), text in any::<String>()) {
        let _ = scheme.parse(&text);
        let _ = (Identity::parse(&text), GitRef::parse(&text), SessionHash::parse(&text));
        let _ = RepoUrl::parse(&text, RepoPolicy::OWN_MACHINE).map(|url| url.host().map(str::len));
        let _ = HostScheme::new(&text, &text, &text);
    }

    #[test]
    fn near_urls_never_panic(text in NEAR_URL) {
        let _ = RepoUrl::parse(&text, RepoPolicy::OWN_MACHINE).map(|url| url.host().map(str::len));
    }

    #[test]
    fn a_hash_prints_as_it_parses(bytes in any::<[u8; 6]>()) {
        let hash = SessionHash::from_bytes(bytes);
        prop_assert_eq!(SessionHash::parse(&hash.to_string()), Ok(hash));
        prop_assert_eq!(hash.to_string().len(), SessionHash::LEN);
    }

    #[test]
    fn different_triples_give_different_hashes(
        a in ("[a-z]{1,3}@[a-z]{1,3}", "https://[a-z]/[a-z:]{1,5}", "[a-z]{1,3}"),
        b in ("[a-z]{1,3}@[a-z]{1,3}", "https://[a-z]/[a-z:]{1,5}", "[a-z]{1,3}"),
    ) {
        let hash = |(email, url, branch): &(String, String, String)| SessionHash::of(
            &Identity::parse(email).unwrap(),
            &RepoUrl::parse(url, RepoPolicy::default()).unwrap(),
            &GitRef::parse(branch).unwrap(),
        );
        prop_assert_eq!(a == b, hash(&a) == hash(&b));
    }
}

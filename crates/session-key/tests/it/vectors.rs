//! The vectors shared with the TypeScript router.

use serde_json::Value;
use session_key::{GitRef, HostScheme, Identity, RepoPolicy, RepoUrl, Route, SessionHash, Target};

#[test]
fn session_hashes_match_those_of_the_typescript_router() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../vectors/session-hash.json")).unwrap();
    assert!(vectors.len() >= 10);
    for vector in vectors {
        let text = |key: &str| vector[key].as_str().unwrap();
        let hash = SessionHash::of(
            &Identity::parse(text("email")).unwrap(),
            &RepoUrl::parse(text("repoUrl"), RepoPolicy::OWN_MACHINE).unwrap(),
            &GitRef::parse(text("branch")).unwrap(),
        );
        assert_eq!(hash.to_string(), text("hash"), "{vector}");
    }
}

#[test]
fn host_names_match_those_of_the_typescript_router() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../vectors/host.json")).unwrap();
    assert!(vectors.len() >= 30);
    for vector in vectors {
        let text = |key: &str| vector[key].as_str().unwrap();
        let scheme = HostScheme::new(text("domain"), text("suffix"), text("attachPrefix")).unwrap();
        let expected = match text("kind") {
            "site" => Route::Site,
            "foreign" => Route::UnknownHost,
            kind => Route::Session(session_key::SessionRoute {
                hash: text("hash").parse().unwrap(),
                target: match kind {
                    "session" => Target::Opencode,
                    "attach" => Target::Attach,
                    "port" => Target::Port(vector["port"].as_u64().unwrap().try_into().unwrap()),
                    other => panic!("unknown kind {other}"),
                },
            }),
        };
        assert_eq!(scheme.parse(text("host")), expected, "{vector}");
    }
}

//! Tables of valid and invalid names.

use session_key::{GitRef, HostScheme, Identity, RepoPolicy, RepoUrl, Route};

#[test]
fn only_an_email_address_is_an_identity() {
    for valid in ["a@b", "carol+dev@example.co.uk", "dörte@beispiel.de", " X@Y.z\n"] {
        assert!(Identity::parse(valid).is_ok(), "{valid:?}");
    }
    for invalid in
        ["", "   ", "alice", "@b", "a@", "a:b@c", "a@b,c@d", "a b@c", "a\0@b", "a@b\u{feff}c", "a\n@b"]
    {
        assert!(Identity::parse(invalid).is_err(), "{invalid:?}");
    }
    assert!(Identity::parse(&format!("{}@b", "a".repeat(300))).is_err());
}

#[test]
fn a_character_that_lower_cases_to_ascii_is_refused_so_two_addresses_are_never_one_user() {
    // KELVIN SIGN lower-cases to `k`, LATIN CAPITAL LETTER I WITH DOT ABOVE to `i` and a combining dot.
    for invalid in ["\u{212a}ate@example.com", "kate@\u{212a}.example", "\u{130}da@example.com"] {
        assert!(Identity::parse(invalid).is_err(), "{invalid:?}");
    }
    for character in ('\u{80}'..=char::MAX).filter(|c| !c.is_whitespace()) {
        let address = format!("{character}@example.com");
        let Ok(identity) = Identity::parse(&address) else { continue };
        assert!(!identity.email().starts_with(|c: char| c.is_ascii()), "{address:?}");
    }
}

#[test]
fn an_identity_does_not_show_its_address_in_logs() {
    let debug = format!("{:?}", Identity::parse("alice@example.com").unwrap());
    assert!(!debug.contains("alice") && !debug.contains("example"), "{debug}");
}

#[test]
fn a_branch_follows_the_rules_of_git() {
    for valid in ["main", "feature/JIRA-123_x.y", "umlaut-ü", "a@b", "v1.0", "x/-y"] {
        assert!(GitRef::parse(valid).is_ok(), "{valid:?}");
    }
    let names = [
        "",
        "-x",
        "--upload-pack=id",
        "a b",
        "a..b",
        "a~b",
        "a^b",
        "a:b",
        "a?b",
        "a*b",
        "a[b",
        "a\\b",
        "/a",
        "a/",
        "a//b",
        ".a",
        "a/.b",
        "a.lock",
        "a.lock/b",
        "a.",
        "@",
        "a@{b",
        "HEAD",
        "a\u{7f}b",
        "a\tb",
        "refs/heads/x",
    ];
    for invalid in names {
        assert!(GitRef::parse(invalid).is_err(), "{invalid:?}");
    }
}

#[test]
fn branch_names_are_those_that_git_accepts() {
    for name in ["main", "x/-y", "a@b", "a..b", ".a", "a.lock/b", "@", "a.", "a@{b", "-x", "HEAD", "a//b"] {
        let git = std::process::Command::new("git").args(["check-ref-format", "--branch", name]).output();
        let Ok(git) = git else { return println!("git is not installed: not compared") };
        let is_valid = GitRef::parse(name).is_ok();
        assert!(git.status.success() || !is_valid, "git does not accept {name:?}");
        assert!(is_valid || !git.status.success() || matches!(name, "@" | "HEAD"), "git accepts {name:?}");
    }
}

#[test]
fn a_repository_address_is_of_an_allowed_kind_and_contains_no_credential() {
    let check = |url: &str, by_default: bool, on_own_machine: bool| {
        assert_eq!(RepoUrl::parse(url, RepoPolicy::default()).is_ok(), by_default, "{url:?} by default");
        assert_eq!(
            RepoUrl::parse(url, RepoPolicy::OWN_MACHINE).is_ok(),
            on_own_machine,
            "{url:?} on one's own machine"
        );
    };
    for url in [
        "https://github.com/a/b",
        "HTTP://h:8080/r.git",
        "https://git.beispiel.de/größe/repo.git",
        "https://[::1]:8/r",
    ] {
        check(url, true, true);
    }
    for url in
        ["ssh://git@h/r", "git://h/r", "git@github.com:a/b.git", "host:path", "file:///srv/x", "/srv/x y"]
    {
        check(url, false, true);
    }
    let invalid = [
        "",
        "x",
        "a/b",
        "https://",
        "https://h",
        "https://h/",
        "https://u@h/r",
        "https://u:p@h/r",
        "https://h:99999/r",
        "https://h/r r",
        "https://h/\nr",
        "ssh://u:p@h/r",
        "ssh://-oProxyCommand=id/r",
        "-h:x",
        "git@-x:y",
        "h:-x",
        "ext::sh -c id",
        "ext::sh",
        "fd::17",
        "file://evil/x",
        "file:x",
        "../x",
        "ftp://h/r",
        "javascript://h/r",
        "https://h\\@evil/r",
        "https://$(id)/r",
    ];
    for url in invalid {
        check(url, false, false);
    }
}

#[test]
fn a_repository_address_names_its_host() {
    let host = |url| RepoUrl::parse(url, RepoPolicy::OWN_MACHINE).unwrap().host().map(str::to_owned);
    assert_eq!(host("https://h:8443/r").as_deref(), Some("h"));
    assert_eq!(host("https://[::1]:8/r").as_deref(), Some("::1"));
    assert_eq!(host("git@h:r").as_deref(), Some("h"));
    assert_eq!(host("/srv/x"), None);
    assert_eq!(host("file:///srv/x"), None);
}

#[test]
fn an_error_never_repeats_the_typed_text() {
    let error = RepoUrl::parse("https://me:hunter2@h/r", RepoPolicy::default()).unwrap_err();
    assert!(!error.to_string().contains("hunter2"));
}

#[test]
fn a_scheme_with_ambiguous_or_invalid_names_is_refused() {
    for (domain, suffix, attach) in [
        ("", "", "attach-"),
        ("example.org:0", "", "attach-"),
        ("exa mple.org", "", "attach-"),
        ("127.0.0.1", "", "attach-"),
        ("example.org", "_/", "attach-"),
        ("example.org", "-", "attach-"),
        ("example.org", "", ""),
        ("example.org", "", "5173-"),
        ("example.org", &"x".repeat(60), "attach-"),
    ] {
        assert!(HostScheme::new(domain, suffix, attach).is_err(), "{domain:?} {suffix:?} {attach:?}");
    }
}

#[test]
fn a_suffix_may_be_a_separate_label() {
    let scheme = HostScheme::new("example.org", ".opencode", "attach-").unwrap();
    assert!(matches!(scheme.parse("a48da0606867.opencode.example.org"), Route::Session(_)));
    assert_eq!(scheme.parse("opencode.example.org"), Route::Site);
}

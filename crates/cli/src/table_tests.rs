use api::wire::{Reason, StageName};
use session_key::SessionHash;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn now() -> Timestamp {
    at("2026-11-23T12:00:00Z")
}

fn running() -> Session {
    Session {
        hash: SessionHash::parse("a48da0606867").expect("a hash"),
        email: "alice@example.com".into(),
        repo_url: Some("https://github.com/acme/widgets.git".into()),
        branch: Some("fix-login".into()),
        source_branch: None,
        state: State::Running,
        state_since: at("2026-11-23T11:00:00Z"),
        url: Some("http://a48da0606867.localhost:3000/x".into()),
        last_activity: at("2026-11-23T11:55:00Z"),
        created_at: at("2026-11-20T12:00:00Z"),
        idle_timeout_minutes: 30,
        description: Some("Fix the login".into()),
        title: None,
        attach_url: None,
        reason: None,
        busy: true,
        stages: Vec::new(),
    }
}

fn failed() -> Session {
    Session {
        hash: SessionHash::parse("0123456789ab").expect("a hash"),
        repo_url: None,
        branch: None,
        state: State::Failed,
        url: None,
        description: Some("\u{1b}[2Jboo".into()),
        reason: Some(Reason {
            code: "clone_failed".into(),
            message: "git failed.".into(),
            advice: Some("Try again.".into()),
            log_tail: Some("fatal: a\nfatal: b\u{7}".into()),
        }),
        stages: vec![Stage {
            stage: StageName::Cloning,
            status: StageStatus::Failed,
            started_at: Some(at("2026-11-23T11:00:00Z")),
            ended_at: Some(at("2026-11-23T11:00:02.500Z")),
            message: Some("Receiving objects".into()),
            percent: Some(40),
            bytes: None,
        }],
        ..running()
    }
}

fn list() -> SessionList {
    SessionList { email: "alice@example.com".into(), sessions: vec![running(), failed()] }
}

#[test]
fn columns_stand_under_each_other() {
    let expected = "\
KEY           STATE          REPOSITORY               BRANCH     ACTIVITY
a48da0606867  running, busy  github.com/acme/widgets  fix-login  5 min ago
0123456789ab  failed         (new project)            -          5 min ago";
    assert_eq!(sessions(&list(), Look::default(), now()), expected);
}

#[test]
fn a_wide_table_tells_more() {
    let text = sessions(&list(), Look { wide: true, ..Look::default() }, now());
    let mut lines = text.lines();
    assert!(lines.next().expect("a header").ends_with("URL"));
    let first = lines.next().expect("a session");
    for part in [
        "https://github.com/acme/widgets.git",
        "3 d ago",
        "Fix the login",
        "http://a48da0606867.localhost:3000/x",
    ] {
        assert!(first.contains(part), "{part} in {first}");
    }
}

#[test]
fn colour_changes_nothing_but_colour() {
    let plain = sessions(&list(), Look::default(), now());
    let coloured = sessions(&list(), Look { colour: true, ..Look::default() }, now());
    assert!(coloured.contains("\u{1b}[32mrunning, busy\u{1b}[0m"), "{coloured:?}");
    assert!(coloured.contains("\u{1b}[31mfailed\u{1b}[0m"), "{coloured:?}");
    let mut bare = coloured;
    for code in ["\u{1b}[32m", "\u{1b}[31m", "\u{1b}[0m"] {
        bare = bare.replace(code, "");
    }
    assert_eq!(bare, plain);
}

#[test]
fn no_session_is_no_table() {
    let none = SessionList { email: "alice@example.com".into(), sessions: Vec::new() };
    assert_eq!(sessions(&none, Look { wide: true, colour: true, everyone: true }, now()), "");
}

#[test]
fn a_failed_session_tells_why_and_what_to_do() {
    let text = session(&failed(), Look::default(), now());
    for part in [
        "✗ cloning: Receiving objects 40 % 2.5 s",
        "git failed.",
        "Try again.",
        "  fatal: a\n",
        "  fatal: b\u{fffd}",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn ages_are_told_in_one_unit() {
    for (then, expected) in [
        ("2026-11-23T12:00:05Z", "just now"),
        ("2026-11-23T11:59:55Z", "just now"),
        ("2026-11-23T11:59:15Z", "45 s ago"),
        ("2026-11-23T11:00:01Z", "59 min ago"),
        ("2026-11-22T12:00:00Z", "24 h ago"),
        ("2026-11-20T12:00:00Z", "3 d ago"),
    ] {
        assert_eq!(ago(at(then), now()), expected);
    }
}

#[test]
fn of_several_users_it_is_told_whose_it_is_and_not_what_only_the_router_knows() {
    let everyone = Look { everyone: true, ..Look::default() };
    let expected = "\
KEY           STATE          OWNER              REPOSITORY               BRANCH     ACTIVITY
a48da0606867  running, busy  alice@example.com  github.com/acme/widgets  fix-login  5 min ago
0123456789ab  failed         alice@example.com  (new project)            -          5 min ago";
    assert_eq!(sessions(&list(), everyone, now()), expected);
    let wide = sessions(&list(), Look { wide: true, ..everyone }, now());
    assert!(wide.lines().next().expect("a header").ends_with("ABOUT"), "{wide}");
    assert!(!session(&running(), everyone, now()).contains("Idle stop"));
}

#[test]
fn a_session_that_is_never_idle_says_so() {
    let forever = Session { idle_timeout_minutes: 0, ..running() };
    assert!(session(&forever, Look::default(), now()).contains("Idle stop:  never\n"));
}

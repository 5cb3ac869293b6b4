//! Tests of the tables.

use api::wire::Reason;
use session_key::SessionHash;

use super::*;
use crate::report::MaybeKnown;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn now() -> Timestamp {
    at("2026-11-23T12:00:00Z")
}

fn running() -> SessionReport {
    SessionReport {
        hash: SessionHash::parse("a48da0606867").expect("a hash"),
        email: "alice@example.com".into(),
        repo_url: Some("https://github.com/acme/widgets.git".into()),
        branch: Some("fix-login".into()),
        source_branch: None,
        state: State::Running,
        state_since: at("2026-11-23T11:00:00Z"),
        url: MaybeKnown::Known(Some("http://a48da0606867.localhost:3000/x".into())),
        last_activity: at("2026-11-23T11:55:00Z"),
        created_at: at("2026-11-20T12:00:00Z"),
        idle_timeout_minutes: MaybeKnown::Known(30),
        description: Some("Fix the login".into()),
        title: None,
        attach_url: None,
        reason: None,
        busy: MaybeKnown::Known(true),
        stages: Vec::new(),
        node: None,
        cpu_millicores: None,
        memory_bytes: None,
        ports: Vec::new(),
    }
}

fn failed() -> SessionReport {
    SessionReport {
        hash: SessionHash::parse("0123456789ab").expect("a hash"),
        repo_url: None,
        branch: None,
        state: State::Failed,
        url: MaybeKnown::Known(None),
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

fn list_of(sessions: Vec<SessionReport>) -> ListReport {
    ListReport { email: MaybeKnown::Known("alice@example.com".into()), sessions }
}

fn list() -> ListReport {
    list_of(vec![running(), failed()])
}

#[test]
fn columns_are_aligned() {
    let expected = "\
KEY           STATE          REPOSITORY               BRANCH     ACTIVITY
a48da0606867  running, busy  github.com/acme/widgets  fix-login  5 min ago
0123456789ab  failed         (new project)            -          5 min ago";
    assert_eq!(sessions(&list(), Style::default(), now()), expected);
}

#[test]
fn a_wide_table_has_more_columns() {
    let text = sessions(&list(), Style { wide: true, ..Style::default() }, now());
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
fn colour_does_not_change_the_text() {
    let plain = sessions(&list(), Style::default(), now());
    let colored = sessions(&list(), Style { color: true, ..Style::default() }, now());
    assert!(colored.contains("\u{1b}[32mrunning, busy\u{1b}[0m"), "{colored:?}");
    assert!(colored.contains("\u{1b}[31mfailed\u{1b}[0m"), "{colored:?}");
    let mut stripped = colored;
    for code in ["\u{1b}[32m", "\u{1b}[31m", "\u{1b}[0m"] {
        stripped = stripped.replace(code, "");
    }
    assert_eq!(stripped, plain);
}

#[test]
fn an_empty_list_prints_no_table() {
    let all = Style { wide: true, color: true, all_users: true, ..Style::default() };
    assert_eq!(sessions(&list_of(Vec::new()), all, now()), "");
}

#[test]
fn a_failed_session_shows_its_reason_and_advice() {
    let text = session(&failed(), Style::default(), now());
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
fn ages_have_one_unit() {
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
fn a_clusters_table_has_owners_and_omits_unknown_values() {
    let all_users = Style { all_users: true, ..Style::default() };
    let unknown = |session| SessionReport {
        url: MaybeKnown::Unknown,
        idle_timeout_minutes: MaybeKnown::Unknown,
        busy: MaybeKnown::Unknown,
        ..session
    };
    let list = list_of(vec![unknown(running()), unknown(failed())]);
    let expected = "\
KEY           STATE    OWNER              REPOSITORY               BRANCH     ACTIVITY
a48da0606867  running  alice@example.com  github.com/acme/widgets  fix-login  5 min ago
0123456789ab  failed   alice@example.com  (new project)            -          5 min ago";
    assert_eq!(sessions(&list, all_users, now()), expected);
    let wide = sessions(&list, Style { wide: true, ..all_users }, now());
    assert!(wide.lines().next().expect("a header").ends_with("ABOUT"), "{wide}");
    let details = session(&list.sessions[0], all_users, now());
    assert!(!details.contains("Idle stop") && !details.contains("URL"), "{details}");
}

#[test]
fn a_session_without_an_idle_timeout_is_never_stopped() {
    let forever = SessionReport { idle_timeout_minutes: MaybeKnown::Known(0), ..running() };
    assert!(session(&forever, Style::default(), now()).contains("Idle stop:  never\n"));
}

#[test]
fn an_administrators_wide_table_shows_where_sessions_run_and_what_they_use() {
    let mut list = list();
    list.sessions[0].node = Some("node-1".to_owned());
    list.sessions[0].cpu_millicores = Some(12);
    list.sessions[0].memory_bytes = Some(300 << 20);
    let style = Style { wide: true, all_users: true, ..Style::default() };
    let text = sessions(&list, style, now());
    assert!(text.lines().next().expect("a header").ends_with("NODE    CPU  MEMORY"), "{text}");
    assert!(text.lines().nth(1).expect("a session").ends_with("node-1  12m  300Mi"), "{text}");
    assert!(text.lines().nth(2).expect("a session").ends_with("-       -    -"), "{text}");
}

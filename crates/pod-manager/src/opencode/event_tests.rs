//! Events as opencode 1.18.33 sends them, recorded.

use super::*;

#[track_caller]
fn check(payload: &str, expected: impl Into<Option<Event>>) {
    let data = format!(r#"{{"directory":"/repo","project":"p","payload":{payload}}}"#);
    let head = head(data.as_bytes());
    assert_eq!(parse(&head.kind, data.as_bytes()), expected.into(), "{payload}");
}

#[test]
fn recorded_events_are_understood() {
    let session = || "ses_1".to_owned();
    let change = |parent: Option<&str>, reverted: Option<&str>| {
        Some(Event::Conversation(ConversationChange {
            session: session(),
            parent: parent.map(str::to_owned),
            title: Some("A title".into()),
            updated: 7,
            reverted: reverted.map(str::to_owned),
        }))
    };
    check(
        r#"{"id":"evt_1","type":"session.updated","properties":{"sessionID":"ses_1","info":{"id":"ses_1","directory":"/repo","title":"A title","time":{"created":5,"updated":7}}}}"#,
        change(None, None),
    );
    check(
        r#"{"id":"evt_1","type":"session.created","properties":{"sessionID":"ses_1","info":{"id":"ses_1","parentID":"ses_0","title":"A title","revert":{"messageID":"msg_2"},"time":{"updated":7}}}}"#,
        change(Some("ses_0"), Some("msg_2")),
    );
    check(
        r#"{"id":"evt_1","type":"session.deleted","properties":{"sessionID":"ses_1","info":{"id":"ses_1"}}}"#,
        Some(Event::Deleted { session: session() }),
    );
    for (status, busy) in [("busy", true), ("retry", true), ("idle", false)] {
        check(
            &format!(
                r#"{{"id":"evt_1","type":"session.status","properties":{{"sessionID":"ses_1","status":{{"type":"{status}"}}}}}}"#
            ),
            Some(Event::Status { session: session(), busy, directory: Some("/repo".into()) }),
        );
    }
    check(
        r#"{"id":"evt_1","type":"session.idle","properties":{"sessionID":"ses_1"}}"#,
        Some(Event::Status { session: session(), busy: false, directory: Some("/repo".into()) }),
    );
    check(
        r#"{"id":"evt_1","type":"message.updated","properties":{"sessionID":"ses_1","info":{"id":"msg_1","role":"assistant","time":{"created":5}}}}"#,
        Some(Event::Message { session: session(), message: "msg_1".into(), role: Role::Assistant }),
    );
    check(
        r#"{"id":"evt_1","type":"message.part.updated","properties":{"sessionID":"ses_1","part":{"type":"text","text":"hi","messageID":"msg_1","sessionID":"ses_1","id":"prt_1"},"time":9}}"#,
        Some(Event::Part(Part {
            session: session(),
            message: "msg_1".into(),
            id: "prt_1".into(),
            text: "hi".into(),
            time: Some(9),
        })),
    );
    check(
        r#"{"id":"evt_1","type":"message.part.delta","properties":{"sessionID":"ses_1","messageID":"msg_1","partID":"prt_1","field":"text","delta":"ho "}}"#,
        Some(Event::Delta { session: session(), part: "prt_1".into(), text: "ho ".into() }),
    );
    check(
        r#"{"id":"evt_1","type":"message.removed","properties":{"sessionID":"ses_1","messageID":"msg_1"}}"#,
        Some(Event::MessageRemoved { session: session(), message: "msg_1".into() }),
    );
    check(
        r#"{"id":"evt_1","type":"permission.asked","properties":{"id":"per_1","sessionID":"ses_1","permission":"bash"}}"#,
        Some(Event::Asked { session: session(), request: "per_1".into() }),
    );
    check(
        r#"{"id":"evt_1","type":"question.asked","properties":{"id":"que_1","sessionID":"ses_1","questions":[]}}"#,
        Some(Event::Asked { session: session(), request: "que_1".into() }),
    );
    check(
        r#"{"id":"evt_1","type":"permission.replied","properties":{"sessionID":"ses_1","requestID":"per_1","reply":"once"}}"#,
        Some(Event::Answered { request: "per_1".into() }),
    );
    check(
        r#"{"id":"evt_1","type":"server.instance.disposed","properties":{"directory":"/repo"}}"#,
        Some(Event::Disposed),
    );
}

#[test]
fn what_is_no_text_of_an_author_is_ignored() {
    for part in [
        r#"{"type":"tool","tool":"bash","messageID":"msg_1","sessionID":"ses_1","id":"prt_1"}"#,
        r#"{"type":"reasoning","text":"hm","messageID":"msg_1","sessionID":"ses_1","id":"prt_1"}"#,
        r#"{"type":"text","synthetic":true,"text":"a file","messageID":"msg_1","sessionID":"ses_1","id":"prt_1"}"#,
        r#"{"type":"text","ignored":true,"text":"x","messageID":"msg_1","sessionID":"ses_1","id":"prt_1"}"#,
        r#"{"type":"text","text":7,"messageID":"msg_1","sessionID":"ses_1","id":"prt_1"}"#,
    ] {
        check(
            &format!(r#"{{"id":"evt_1","type":"message.part.updated","properties":{{"part":{part}}}}}"#),
            None,
        );
    }
    check(
        r#"{"id":"evt_1","type":"message.part.delta","properties":{"sessionID":"ses_1","partID":"prt_1","field":"output","delta":"x"}}"#,
        None,
    );
}

#[test]
fn hostile_events_change_nothing() {
    for payload in [
        "null",
        "7",
        "[]",
        r#"{"type":7}"#,
        r#"{"type":"session.updated"}"#,
        r#"{"type":"session.updated","properties":{"info":{"id":"../../x"}}}"#,
        r#"{"type":"session.status","properties":{"sessionID":"ses_1"}}"#,
        r#"{"type":"session.status","properties":{"sessionID":{"a":1},"status":{"type":"busy"}}}"#,
        r#"{"type":"message.updated","properties":{"sessionID":"ses_1","info":{"id":"msg_1","role":"system"}}}"#,
        r#"{"type":"message.removed","properties":{"sessionID":"ses_1","messageID":"x"}}"#,
        r#"{"type":"sync","syncEvent":{"type":"session.deleted.1"},"id":"evt_1"}"#,
        r#"{"type":"pty.updated","properties":{"info":{"id":"ses_1"}}}"#,
    ] {
        check(payload, None);
    }
}

#[test]
fn an_id_is_one_of_opencode_or_none() {
    let id = |id: &str| head(format!(r#"{{"payload":{{"type":"x","id":{id}}}}}"#).as_bytes()).id;
    assert_eq!(id(r#""evt_215d90b6f0011gEZnZQUwoGqot""#).as_deref(), Some("evt_215d90b6f0011gEZnZQUwoGqot"));
    for hostile in [r#""evt_""#, r#""evt_a\nid: b""#, r#""a""#, "7", r#""evt_ü""#] {
        assert_eq!(id(hostile), None, "{hostile}");
    }
    let long = format!(r#""evt_{}""#, "a".repeat(65));
    assert_eq!(id(&long), None);
}

#[test]
fn of_a_long_text_the_end_is_kept() {
    assert_eq!(keep_end("a\u{1b}[31m\r\n\tb"), "a[31m\n\tb");
    let long = format!("{}end", "ü".repeat(MAX_TEXT));
    let kept = keep_end(&long);
    assert!(kept.starts_with('…') && kept.ends_with("üend") && kept.len() <= MAX_TEXT + '…'.len_utf8());
}

use super::*;

fn check(path: &str, query: Option<&str>, expected: Option<&EventScope>) {
    assert_eq!(EventScope::of_request(path, query).as_ref(), expected, "{path} {query:?}");
}

#[test]
fn streams_are_recognised_by_path_and_folder() {
    let directory = |name: &str| EventScope::Directory(name.into());
    check("/global/event", None, Some(&EventScope::Global));
    check("/global/event", Some("x=1"), Some(&EventScope::Global));
    check("/event", Some("directory=%2Fhome%2Fme%2Fa+b"), Some(&directory("/home/me/a b")));
    check("/event", Some("workspace=w&directory=/repo"), Some(&directory("/repo")));
    check("/event", None, None);
    check("/event", Some("directory="), None);
    check("/event", Some(&format!("directory=/{}", "x".repeat(MAX_DIRECTORY))), None);
    check("/api/event", None, None);
    check("/global/event/", None, None);
    check("/", None, None);
}

const UPDATED: &str = r#"{"directory":"/repo","project":"p","payload":{"id":"evt_1","type":"session.updated","properties":{ "a": "\u00e9" }}}"#;

#[test]
fn an_event_has_the_same_bytes_and_id_on_every_stream() {
    let data = Bytes::from_static(UPDATED.as_bytes());
    assert_eq!(EventScope::Global.id_of(&data), Some(("evt_1".into(), false)));
    assert_eq!(EventScope::Global.project(&data), Some(data.clone()));
    let repo = EventScope::Directory("/repo".into());
    let payload = r#"{"id":"evt_1","type":"session.updated","properties":{ "a": "\u00e9" }}"#;
    assert_eq!(repo.project(&data).as_deref(), Some(payload.as_bytes()));
    assert_eq!(repo.id_of(payload.as_bytes()), Some(("evt_1".into(), false)));
    assert_eq!(EventScope::Directory("/other".into()).project(&data), None);
}

#[test]
fn repetitions_are_on_the_global_stream_alone() {
    let data =
        Bytes::from_static(br#"{"directory":"/repo","payload":{"type":"sync","syncEvent":{},"id":"evt_1"}}"#);
    assert_eq!(EventScope::Global.id_of(&data), Some(("evt_1".into(), true)));
    assert_eq!(EventScope::Directory("/repo".into()).project(&data), None);
}

#[test]
fn what_is_no_event_of_the_log_has_no_id() {
    for data in [
        "",
        "x",
        "null",
        "[]",
        r#"{"payload":{"type":"global.disposed","properties":{}}}"#,
        r#"{"payload":{"id":"evt_1","type":"server.connected","properties":{}}}"#,
        r#"{"payload":{"id":"evt_1","type":"server.heartbeat","properties":{}}}"#,
        r#"{"payload":{"id":"evt_\n1","type":"x"}}"#,
        r#"{"payload":{"id":7,"type":"x"}}"#,
    ] {
        assert_eq!(EventScope::Global.id_of(data.as_bytes()), None, "{data}");
    }
    let greeting = br#"{"id":"evt_1","type":"server.connected","properties":{}}"#;
    assert_eq!(EventScope::Directory("/repo".into()).id_of(greeting), None);
}

#[test]
fn an_event_of_the_router_has_the_streams_form() {
    let place = Place { directory: "/repo", project: "p" };
    let properties = json!({ "sessionID": "ses_1" });
    let global = EventScope::Global.event(&place, "evt_1", "session.idle", &properties);
    let directory = EventScope::Directory("/repo".into());
    assert_eq!(
        directory.project(&global).map(|data| serde_json::from_slice::<Value>(&data).unwrap()),
        Some(json!({ "id": "evt_1", "type": "session.idle", "properties": properties }))
    );
    let event = directory.event(&place, "evt_1", "session.idle", &properties);
    assert_eq!(directory.id_of(&event), Some(("evt_1".into(), false)));
}

use super::*;
use crate::opencode::test_server::{Response, TestServer};

const NOW: Duration = Duration::from_millis(1_795_664_770_340);

fn now() -> SystemTime {
    UNIX_EPOCH + NOW
}

fn conversation() -> ChangedConversation {
    let info = json!({ "id": "ses_1", "directory": "/repo", "projectID": "p", "title": "A title" });
    ChangedConversation { id: "ses_1".into(), info }
}

fn events() -> StateEvents<'static> {
    StateEvents { scope: &EventScope::Global, now: now() }
}

#[test]
fn the_time_of_an_event_is_known_from_its_id() {
    // An event of opencode 1.18, and the time at which it was made.
    let made = crate::opencode::event_time("evt_215f5f52900167PBt0X8LIHPiP").unwrap();
    let before = UNIX_EPOCH + Duration::from_millis(1_795_664_770_345) - MARGIN;
    assert_eq!(up_to_date_at(made, now() + Duration::from_secs(3600)), before);
    // Of any number, some time results.
    for time in [0, u64::MAX, 1 << 47] {
        assert!(up_to_date_at(time, now()) < now());
        up_to_date_at(time, UNIX_EPOCH);
    }
}

#[test]
fn state_is_what_opencode_would_send_for_changes() {
    let conversation = conversation();
    let parse = |event: Bytes| serde_json::from_slice::<Value>(&event).unwrap();
    let updated = parse(events().conversation(&conversation));
    assert_eq!((&updated["directory"], &updated["project"]), (&json!("/repo"), &json!("p")));
    assert_eq!(updated["payload"]["type"], "session.updated");
    assert_eq!(updated["payload"]["properties"]["info"]["title"], "A title");

    let status = |statuses| parse(events().status(&conversation, &statuses))["payload"]["properties"].clone();
    assert_eq!(status(json!({})), json!({ "sessionID": "ses_1", "status": { "type": "idle" } }));
    let busy = json!({ "type": "busy" });
    assert_eq!(status(json!({ "ses_1": busy })), json!({ "sessionID": "ses_1", "status": busy }));

    let part = json!({ "id": "prt_1", "type": "text", "text": "Hello", "time": { "start": 1, "end": 2 } });
    let tool = json!({ "id": "prt_2", "type": "tool", "state": { "status": "running" } });
    let unfinished = json!({ "id": "prt_3", "type": "text", "text": "", "time": { "start": 1 } });
    let info = json!({ "id": "msg_1", "role": "assistant", "time": { "created": 1 } });
    let message = json!({ "info": info, "parts": [part, tool, unfinished] });
    let messages: Vec<_> = events().messages(&conversation, &[&message]).into_iter().map(parse).collect();
    let kinds: Vec<_> = messages.iter().map(|event| event["payload"]["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["message.updated", "message.part.updated", "message.part.updated"]);
    assert_eq!(messages[0]["payload"]["properties"], json!({ "sessionID": "ses_1", "info": info }));
    assert_eq!(messages[1]["payload"]["properties"]["part"], part);
    assert_eq!(messages[2]["payload"]["properties"]["part"], tool);
}

#[test]
fn whatever_the_session_answers_gives_events() {
    for message in [json!(null), json!([]), json!({ "info": 7, "parts": { "a": 1 } }), json!("x")] {
        let page = Page { messages: vec![message], next: Some("c".into()) };
        let changed = page.changed_since(Some(now()));
        assert!(!events().messages(&conversation(), &changed).is_empty());
        assert_eq!(page.next_since(Some(now())), None);
    }
    let odd = ChangedConversation { id: "ses_1".into(), info: json!(null) };
    events().status(&odd, &json!([]));
}

#[test]
fn older_messages_are_asked_for_until_the_client_was_up_to_date() {
    let message = json!({ "info": { "time": { "created": millis(now()) } } });
    let page = Page { messages: vec![message], next: Some("c".into()) };
    assert_eq!(page.next_since(Some(now())), Some("c"));
    assert_eq!(page.next_since(Some(now() + Duration::from_secs(1))), None);
    assert_eq!(page.next_since(None), None);
}

#[test]
fn messages_that_the_client_has_are_left_out() {
    // Times in seconds: created, and completed if it is an answer that is.
    let prompt = |id: &str, created: u64| json!({ "info": { "id": id, "role": "user", "time": { "created": created * 1000 } } });
    let answer = |id: &str, created: u64, completed: Option<u64>| {
        let time = json!({ "created": created * 1000, "completed": completed.map(|at| at * 1000) });
        json!({ "info": { "id": id, "role": "assistant", "time": time } })
    };
    let changed = |messages: &[Value], since: Option<u64>| {
        let page = Page { messages: messages.to_vec(), next: None };
        let since = since.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        let messages = page.changed_since(since);
        let ids = messages.iter().map(|message| message["info"]["id"].as_str().unwrap());
        ids.collect::<Vec<_>>().join(" ")
    };
    let over = [prompt("p1", 10), answer("a1", 11, Some(20)), prompt("p2", 30), answer("a2", 31, Some(50))];
    for (since, expected) in [
        (None, "p1 a1 p2 a2"),
        (Some(15), "p1 a1 p2 a2"),
        (Some(25), "p2 a2"),
        (Some(50), "p2 a2"),
        (Some(51), ""),
    ] {
        assert_eq!(changed(&over, since), expected, "since {since:?}");
    }
    // An answer that is being written was begun long ago. One whose agent was killed is never completed.
    let killed = answer("a1", 11, None);
    let working = [prompt("p1", 10), killed.clone(), prompt("p2", 30), answer("a2", 31, None)];
    assert_eq!(changed(&working, Some(100)), "p2 a2");
    // A turn of many steps: the client has the earlier ones, or its page has not loaded them.
    let long =
        [prompt("p1", 10), answer("a1", 11, Some(20)), answer("a2", 20, Some(40)), answer("a3", 40, None)];
    assert_eq!(changed(&long, Some(50)), "p1 a3");
    assert_eq!(changed(&long[1..], Some(50)), "a3");
    // A prompt can be sent while the agent works, and waits.
    let waiting = [prompt("p1", 10), killed, prompt("p2", 30)];
    assert_eq!(changed(&waiting, Some(20)), "p1 a1 p2");
    assert_eq!(changed(&waiting, Some(100)), "p1 a1 p2");
    assert_eq!(changed(&[], Some(1)), "");
}

#[tokio::test]
async fn only_conversations_that_changed_are_returned() {
    let list = json!([
        { "id": "ses_1", "time": { "updated": 3000 } },
        { "id": "ses_2", "time": { "updated": 2000 } },
        { "id": "../x", "time": { "updated": 3000 } },
        { "id": "ses_3", "time": { "updated": 1000 } },
        { "id": "ses_4" },
    ]);
    let answer = list.to_string();
    let (idle, working) = (json!({}), json!({ "ses_3": { "type": "busy" }, "ses_5": { "type": "busy" } }));
    for (since, statuses, expected) in [
        (Some(2), &idle, &["ses_1", "ses_2"][..]),
        (None, &idle, &["ses_1"]),
        (Some(4), &idle, &[]),
        // A step that takes long began before.
        (Some(4), &working, &["ses_3"]),
        (None, &working, &["ses_1"]),
        (Some(4), &json!("hostile"), &[]),
    ] {
        let server = TestServer::start(Response::ok("application/json", &answer)).await;
        let since = since.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        let (client, endpoint) = (OpencodeClient::new(), server.endpoint());
        let changed =
            client.changed_conversations(&endpoint, &EventScope::Global, since, statuses).await.unwrap();
        let changed: Vec<_> = changed.into_iter().map(|changed| changed.id).collect();
        assert_eq!(changed, expected);
    }
}

use super::*;

fn run() -> Arc<str> {
    "run".into()
}

fn part(message: &str, id: &str, text: &str) -> Part {
    Part { session: "ses_1".into(), message: message.into(), id: id.into(), text: text.into(), time: Some(1) }
}

fn message(id: &str, role: Role) -> Event {
    Event::Message { session: "ses_1".into(), message: id.into(), role }
}

fn change(session: &str, title: &str, updated: u64) -> ConversationChange {
    ConversationChange {
        session: session.into(),
        parent: None,
        title: Some(title.into()),
        updated,
        reverted: None,
    }
}

/// A thread of the conversation `ses_1`, with one message of its user.
fn thread() -> Thread {
    let mut thread = Thread::default();
    thread.load(
        &run(),
        Some(Conversation::test("ses_1", 10)),
        vec![(Role::User, part("msg_1", "prt_1", "do it"))],
    );
    thread
}

fn texts(update: &ThreadUpdate) -> Vec<&str> {
    let (ThreadUpdate::Snapshot { messages, .. } | ThreadUpdate::Messages(messages)) = update;
    messages.iter().map(|message| message.text.as_str()).collect()
}

#[track_caller]
fn seen(thread: &Thread) -> Option<Seen> {
    thread.update_since(None).map(|(_, seen)| seen)
}

#[test]
fn a_viewer_sees_a_snapshot_and_then_each_change_once() {
    let mut thread = thread();
    let (update, seen) = thread.update_since(None).expect("a snapshot");
    assert_eq!(texts(&update), ["do it"]);
    assert_eq!(thread.update_since(Some(seen)), None, "nothing is new");
    assert_eq!(thread.apply(message("msg_2", Role::Assistant)), Change::None);
    assert_eq!(thread.apply(Event::Part(part("msg_2", "prt_2", ""))), Change::Shown);
    for word in ["one ", "two"] {
        let delta = Event::Delta { session: "ses_1".into(), part: "prt_2".into(), text: word.into() };
        assert_eq!(thread.apply(delta), Change::Shown);
    }
    let (update, seen) = thread.update_since(Some(seen)).expect("the answer");
    assert_eq!(texts(&update), ["one two"], "words that came meanwhile are one update");
    assert!(matches!(&update, ThreadUpdate::Messages(messages) if messages[0].role == Role::Assistant));
    assert_eq!(thread.apply(Event::Part(part("msg_2", "prt_2", "one two"))), Change::None, "nothing new");
    assert_eq!(thread.update_since(Some(seen)), None);
}

#[test]
fn a_viewer_learns_removals_and_titles_by_a_snapshot() {
    let mut thread = thread();
    for (event, expected) in [
        (Event::Conversation(change("ses_1", "New title", 10)), vec!["do it"]),
        (Event::MessageRemoved { session: "ses_1".into(), message: "msg_1".into() }, vec![]),
    ] {
        let before = seen(&thread);
        assert_eq!(thread.apply(event), Change::Shown);
        let (update, _) = thread.update_since(before).expect("an update");
        assert!(
            matches!(&update, ThreadUpdate::Snapshot { title, .. } if title.as_deref() == Some("New title"))
        );
        assert_eq!(texts(&update), expected);
    }
}

#[test]
fn messages_that_were_taken_back_are_not_shown() {
    let mut thread = thread();
    thread.apply(message("msg_2", Role::User));
    thread.apply(Event::Part(part("msg_2", "prt_2", "wrong")));
    let mut reverted = change("ses_1", "t", 10);
    reverted.reverted = Some("msg_2".into());
    thread.apply(Event::Conversation(reverted));
    assert_eq!(texts(&thread.update_since(None).expect("a snapshot").0), ["do it"]);
    thread.apply(Event::Conversation(change("ses_1", "t", 11)));
    assert_eq!(texts(&thread.update_since(None).expect("a snapshot").0), ["do it", "wrong"]);
}

#[test]
fn another_conversation_that_is_newer_is_asked_for() {
    let mut thread = thread();
    assert_eq!(thread.apply(Event::Conversation(change("ses_2", "t", 9))), Change::None);
    assert_eq!(thread.apply(Event::Conversation(change("ses_2", "t", 11))), Change::Reload);
    let child = ConversationChange { parent: Some("ses_1".into()), ..change("ses_3", "t", 12) };
    assert_eq!(thread.apply(Event::Conversation(child)), Change::None, "a sub-agent's");
    assert_eq!(thread.apply(Event::Deleted { session: "ses_2".into() }), Change::None);
    assert_eq!(thread.apply(Event::Deleted { session: "ses_1".into() }), Change::Reload);
    assert_eq!(Thread::default().apply(Event::Conversation(change("ses_1", "t", 1))), Change::Reload);
}

#[test]
fn texts_of_other_conversations_and_of_unknown_authors_are_not_shown() {
    let mut thread = thread();
    let mut other = part("msg_9", "prt_9", "secret");
    other.session = "ses_2".into();
    assert_eq!(thread.apply(Event::Part(other)), Change::None);
    assert_eq!(thread.apply(Event::Part(part("msg_9", "prt_9", "whose?"))), Change::None);
    let delta = Event::Delta { session: "ses_1".into(), part: "prt_9".into(), text: "thought".into() };
    assert_eq!(thread.apply(delta), Change::None, "of a part that is no text");
}

#[test]
fn what_is_held_is_bounded() {
    let mut thread = thread();
    for number in 0..1000 {
        let id = format!("msg_1{number:04}");
        thread.apply(message(&id, Role::User));
        thread.apply(Event::Part(part(&id, &format!("prt_{number}"), &"x".repeat(MAX_TEXT))));
    }
    let held: usize = thread.messages.iter().map(|(message, _)| message.text.len()).sum();
    assert!(held <= MAX_BYTES && thread.messages.len() <= MAX_MESSAGES && thread.roles.len() <= MAX_ROLES);
    assert_eq!(thread.messages.last().map(|(last, _)| last.message_id.as_str()), Some("msg_10999"));
    for _ in 0..100 {
        let delta =
            Event::Delta { session: "ses_1".into(), part: "prt_999".into(), text: "y".repeat(MAX_TEXT) };
        thread.apply(delta);
    }
    let last = &thread.messages.last().expect("a message").0.text;
    assert!(last.starts_with('…') && last.len() <= MAX_TEXT + CUT_GRAIN + 3, "{}", last.len());
}

#[test]
fn the_end_of_a_run_clears_its_thread_alone() {
    let mut thread = thread();
    thread.clear(&"an earlier run".into());
    assert_eq!(thread.messages.len(), 1);
    let before = seen(&thread);
    thread.clear(&run());
    let (update, _) = thread.update_since(before).expect("an update");
    assert_eq!(update, ThreadUpdate::Snapshot { title: None, messages: Vec::new() });
}

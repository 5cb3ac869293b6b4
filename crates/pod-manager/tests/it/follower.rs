//! What the manager learns from opencode's events, without asking again and again.

use std::time::Duration;

use pod_manager::{ManagerSettings, Role, ThreadSubscription, ThreadUpdate, ViewState};
use session_key::SessionHash;
use tokio::time::timeout;

use crate::test_manager::{IDLE, TestManager, alice, bob, fast_settings};

const TIMEOUT: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// A manager that does not probe by itself, except once a session could be idle, and a running session whose
/// events are followed.
async fn following() -> (TestManager, SessionHash) {
    let settings =
        ManagerSettings { probe_interval_watched: HOUR, probe_interval_unwatched: HOUR, ..fast_settings() };
    let test = TestManager::with(settings).await;
    test.opencode.enable_events();
    let hash = test.create_running("widgets").await;
    test.eventually("the events are followed", || test.manager.following().connected == 1).await;
    (test, hash)
}

/// Reads updates until one fulfils `expected`.
async fn read_until(
    messages: &mut ThreadSubscription,
    expected: impl Fn(&ThreadUpdate) -> bool,
) -> ThreadUpdate {
    let mut unexpected = Vec::new();
    let found = async {
        loop {
            match messages.update() {
                Some(update) if expected(&update) => return update,
                Some(update) => unexpected.push(update),
                None => messages.changed().await,
            }
        }
    };
    timeout(TIMEOUT, found).await.unwrap_or_else(|_| panic!("not in time; instead: {unexpected:#?}"))
}

fn texts(update: &ThreadUpdate) -> Vec<&str> {
    let (ThreadUpdate::Snapshot { messages, .. } | ThreadUpdate::Messages(messages)) = update;
    messages.iter().map(|message| message.text.as_str()).collect()
}

fn conversation(test: &TestManager) -> String {
    test.opencode.conversations().last().expect("a conversation").0.clone()
}

#[tokio::test]
async fn messages_and_title_arrive_without_a_probe() {
    let (test, hash) = following().await;
    let conversation = conversation(&test);
    let mut messages = test.manager.messages(&alice(), hash).expect("a session");
    assert!(matches!(messages.update(), Some(ThreadUpdate::Snapshot { .. })), "a snapshot comes first");
    test.opencode.answer(&conversation, 1, "It is done now.", true);
    let update = read_until(&mut messages, |update| texts(update).contains(&"It is done now.")).await;
    let (ThreadUpdate::Snapshot { messages: shown, .. } | ThreadUpdate::Messages(shown)) = update;
    assert_eq!((shown[0].role, &*shown[0].session_id), (Role::Assistant, conversation.as_str()));
    test.opencode.rename(&conversation, "Done");
    test.wait_for(hash, |view| view.title.as_deref() == Some("Done")).await;
    read_until(
        &mut messages,
        |update| matches!(update, ThreadUpdate::Snapshot { title: Some(title), .. } if title == "Done"),
    )
    .await;
}

#[tokio::test]
async fn a_new_conversation_replaces_the_one_before() {
    let (test, hash) = following().await;
    test.opencode.answer(&conversation(&test), 1, "old", false);
    let mut messages = test.manager.messages(&alice(), hash).expect("a session");
    read_until(&mut messages, |update| texts(update) == ["old"]).await;
    let new = test.opencode.create_conversation("Another one");
    let view = test.wait_for(hash, |view| view.title.as_deref() == Some("Another one")).await;
    assert!(view.landing_path.as_deref().is_some_and(|path| path.ends_with(&new)), "{view:?}");
    read_until(&mut messages, |update| texts(update).is_empty()).await;
}

#[tokio::test]
async fn work_is_known_by_events_alone() {
    let (test, hash) = following().await;
    for busy in [true, false, true] {
        test.opencode.set_busy(busy);
        test.wait_for(hash, |view| view.busy == busy).await;
    }
}

#[tokio::test]
async fn a_followed_session_is_stopped_when_its_agent_has_been_idle_for_the_timeout() {
    let test = TestManager::new().await;
    test.opencode.enable_events();
    let hash = test.create_running("widgets").await;
    test.eventually("the events are followed", || test.manager.following().connected == 1).await;
    test.opencode.set_busy(true);
    test.wait_for(hash, |view| view.busy).await;
    test.clock.advance(2 * IDLE);
    test.opencode.set_busy(false);
    test.wait_for(hash, |view| !view.busy).await;
    // A probe may show the end of the work before the events do, which are applied in order.
    let mut messages = test.manager.messages(&alice(), hash).expect("a session");
    test.opencode.answer(&conversation(&test), 1, "done", false);
    read_until(&mut messages, |update| texts(update) == ["done"]).await;
    test.clock.advance(IDLE - Duration::from_secs(1));
    test.opencode.wait_for_probes(3).await;
    assert_eq!(test.state(hash), ViewState::Running);
    test.clock.advance(Duration::from_secs(1));
    test.wait_state(hash, ViewState::Stopped).await;
}

#[tokio::test]
async fn a_session_whose_agents_wait_for_the_user_is_stopped_after_a_day() {
    let test = TestManager::new().await;
    test.opencode.enable_events();
    let hash = test.create_running("widgets").await;
    test.eventually("the events are followed", || test.manager.following().connected == 1).await;
    test.opencode.set_busy(true);
    test.wait_for(hash, |view| view.busy).await;
    test.clock.advance(48 * HOUR);
    test.opencode.wait_for_probes(3).await;
    assert_eq!(test.state(hash), ViewState::Running, "an agent that works is never idle");
    test.opencode.set_question("ses_child", true);
    test.wait_for(hash, |view| view.waiting).await;
    test.clock.advance(24 * HOUR - Duration::from_secs(1));
    test.opencode.wait_for_probes(3).await;
    assert_eq!(test.state(hash), ViewState::Running);
    test.clock.advance(Duration::from_secs(1));
    test.wait_state(hash, ViewState::Stopped).await;
}

#[tokio::test]
async fn a_question_to_the_user_is_shown_as_waiting() {
    let (test, hash) = following().await;
    test.opencode.set_busy(true);
    test.wait_for(hash, |view| view.busy && !view.waiting).await;
    test.opencode.set_question("ses_child", true);
    test.wait_for(hash, |view| view.busy && view.waiting).await;
    test.opencode.set_question("ses_child", false);
    test.wait_for(hash, |view| view.busy && !view.waiting).await;
}

#[tokio::test]
async fn what_a_lost_connection_missed_is_asked_for() {
    let (test, hash) = following().await;
    let conversation = conversation(&test);
    test.opencode.set_busy(true);
    test.wait_for(hash, |view| view.busy).await;
    let mut messages = test.manager.messages(&alice(), hash).expect("a session");
    test.opencode.set_unresponsive(true);
    test.opencode.end_event_streams();
    test.eventually("the loss is noticed", || test.manager.following().connected == 0).await;
    test.opencode.answer(&conversation, 1, "said meanwhile", true);
    test.opencode.rename(&conversation, "Renamed meanwhile");
    test.opencode.set_busy(false);
    assert!(test.view(hash).busy, "nobody could know");
    test.opencode.set_unresponsive(false);
    read_until(&mut messages, |update| texts(update) == ["said meanwhile"]).await;
    test.wait_for(hash, |view| !view.busy && view.title.as_deref() == Some("Renamed meanwhile")).await;
    assert!(test.manager.following().reconnects > 0);
}

#[tokio::test]
async fn messages_are_the_owners_and_end_with_the_run() {
    let (test, hash) = following().await;
    assert!(test.manager.messages(&bob(), hash).is_none());
    test.opencode.answer(&conversation(&test), 1, "done", false);
    let mut messages = test.manager.messages(&alice(), hash).expect("a session");
    read_until(&mut messages, |update| texts(update) == ["done"]).await;
    test.manager.stop(&alice(), hash).await.expect("a stop");
    read_until(
        &mut messages,
        |update| matches!(update, ThreadUpdate::Snapshot { messages, .. } if messages.is_empty()),
    )
    .await;
    assert_eq!(test.manager.following().connected, 0);
}

#[tokio::test]
async fn without_an_event_stream_probes_show_what_agents_do() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.opencode.set_busy(true);
    test.wait_for(hash, |view| view.busy).await;
    test.opencode.set_busy(false);
    test.wait_for(hash, |view| !view.busy).await;
    assert_eq!(test.manager.following().connected, 0);
}

//! The state of a session's conversations, for clients that missed events.

use std::time::Duration;

use futures_util::StreamExt;
use pod_manager::EventScope;
use tokio::time;

use crate::test_manager::{TestManager, alice};

const TIMEOUT: Duration = Duration::from_secs(20);
/// Longer than sending the state to one client may take.
const TOO_LONG: Duration = Duration::from_secs(31);

#[tokio::test]
async fn a_client_that_does_not_read_its_state_makes_no_other_wait_for_longer_than_the_limit() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    let conversation = test.opencode.create_conversation("Widgets");
    (1..=30).for_each(|number| test.opencode.answer(&conversation, number, "Some words", false));
    let state = || {
        let scope = EventScope::of_request("/global/event", None).expect("a stream of events");
        test.manager.events(&alice(), hash, scope).expect("a running session").state("evt_of_before")
    };
    let mut stalled = state();
    let first = time::timeout(TIMEOUT, stalled.next()).await.expect("the state in time");
    assert!(first.is_some());

    time::pause();
    time::advance(TOO_LONG).await;
    time::resume();
    let others = time::timeout(TIMEOUT, state().collect::<Vec<_>>()).await.expect("the state in time");
    assert!(others.len() > 30, "all messages, but {others:?}");
    let rest = time::timeout(TIMEOUT, stalled.collect::<Vec<_>>()).await.expect("the end in time");
    assert!(rest.len() < 30, "the stalled client's stream ended, and is {rest:?}");
}

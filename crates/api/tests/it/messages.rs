//! The event stream of a session's latest messages.

use api::{
    client::{Client, ClientError},
    server::MAX_MESSAGE_STREAMS,
    testing::TestRouter,
    wire::{Role, State, Thread, ThreadEvent},
};
use futures_util::StreamExt;
use session_key::SessionHash;

use crate::{ALICE, BOB, create, next, router, soon, wait_for};

/// A router with a running session of alice, and the id of its conversation.
async fn running() -> (TestRouter, Client, SessionHash, String) {
    let router = router().await;
    router.opencode.enable_events();
    let alice = router.client(ALICE);
    let hash = create(&alice, "fix").await;
    wait_for(&alice, hash, State::Running).await;
    let conversation = router.opencode.conversations().last().expect("a conversation").0.clone();
    (router, alice, hash, conversation)
}

#[tokio::test]
async fn messages_follow_a_snapshot() {
    let (router, alice, hash, conversation) = running().await;
    let mut events = alice.watch_messages(hash);
    assert!(matches!(next(&mut events).await, ThreadEvent::Snapshot(_)));
    router.opencode.answer(&conversation, 1, "It is done.", true);
    let text = loop {
        match next(&mut events).await {
            ThreadEvent::Snapshot(Thread { messages, .. }) => {
                if let Some(message) = messages.into_iter().find(|message| message.text == "It is done.") {
                    break message;
                }
            }
            ThreadEvent::Message(message) if message.text == "It is done." => break message,
            ThreadEvent::Message(message) => assert!("It is done.".starts_with(&message.text)),
        }
    };
    assert_eq!((text.role, text.session_id), (Role::Assistant, conversation));
}

#[tokio::test]
async fn the_messages_of_another_users_session_are_not_found() {
    let (router, _, hash, _) = running().await;
    let refused = soon(router.client(BOB).watch_messages(hash).next()).await.expect("an answer");
    assert!(matches!(&refused, Err(ClientError::Refused { status: 404, .. })), "{refused:?}");
}

#[tokio::test]
async fn the_stream_ends_with_the_session_and_with_the_router() {
    let (router, alice, hash, _) = running().await;
    let mut events = alice.watch_messages(hash);
    next(&mut events).await;
    soon(alice.delete(hash)).await.expect("deleted");
    // The client reconnects, and is refused.
    let end = soon(async {
        loop {
            match events.next().await {
                Some(Ok(_)) => {}
                end => return end,
            }
        }
    })
    .await;
    assert!(matches!(end, Some(Err(ClientError::Refused { .. }))), "{end:?}");
    drop(router);
}

#[tokio::test]
async fn a_user_has_a_limited_number_of_these_streams() {
    let (router, alice, hash, _) = running().await;
    let mut open = Vec::new();
    for _ in 0..MAX_MESSAGE_STREAMS {
        let mut events = alice.watch_messages(hash);
        next(&mut events).await;
        open.push(events);
    }
    let refused = soon(alice.watch_messages(hash).next()).await.expect("an answer");
    assert!(matches!(&refused, Err(ClientError::Refused { status: 429, .. })), "{refused:?}");
    let bob = router.client(BOB);
    let bobs = create(&bob, "other").await;
    next(&mut bob.watch_messages(bobs)).await;
}

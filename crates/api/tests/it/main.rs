//! The API as its users meet it: over HTTP on a loopback socket, through the typed client or plain requests.

mod contract;
mod refusals;
mod sessions;
mod streams;

use std::{fmt::Debug, future::Future, time::Duration};

use api::{
    client::Client,
    testing::TestRouter,
    wire::{CreateSession, Session, State},
};
use futures_util::{Stream, StreamExt};
use session_key::SessionHash;

const ALICE: &str = "alice@example.com";
const BOB: &str = "bob@example.com";
const REPO: &str = "https://github.com/acme/widgets";

/// What must happen soon; a test that waits longer has failed.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it did not happen within 20 s")
}

async fn router() -> TestRouter {
    soon(TestRouter::start()).await.expect("a router")
}

fn on(branch: &str) -> CreateSession {
    CreateSession { repo_url: Some(REPO.into()), branch: Some(branch.into()), ..CreateSession::default() }
}

async fn create(client: &Client, branch: &str) -> SessionHash {
    soon(client.create(&on(branch))).await.expect("a session").session.hash
}

/// The next of a stream that must not end, nor fail.
async fn next<T, E: Debug>(stream: &mut (impl Stream<Item = Result<T, E>> + Unpin)) -> T {
    soon(stream.next()).await.expect("the stream goes on").expect("an event")
}

/// Waits, by the list's stream, until the session is so.
async fn until(client: &Client, hash: SessionHash, state: State) -> Session {
    let mut lists = client.watch_list();
    loop {
        let list = next(&mut lists).await;
        if let Some(session) = list.sessions.into_iter().find(|one| one.hash == hash && one.state == state) {
            return session;
        }
    }
}

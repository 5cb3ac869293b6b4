//! The API over HTTP on a loopback socket, through the typed client or plain requests.

mod admin;
mod contract;
mod messages;
mod refusals;
mod repositories;
mod sessions;
mod streams;
mod user_secrets;

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

/// Waits for a future that must complete within 20 s.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("completed within 20 s")
}

async fn router() -> TestRouter {
    soon(TestRouter::start()).await.expect("a router")
}

fn session_on(branch: &str) -> CreateSession {
    CreateSession { repo_url: Some(REPO.into()), branch: Some(branch.into()), ..CreateSession::default() }
}

async fn create(client: &Client, branch: &str) -> SessionHash {
    soon(client.create(&session_on(branch))).await.expect("a session").session.hash
}

/// Returns the next item of a stream, which must neither end nor fail.
async fn next<T, E: Debug>(stream: &mut (impl Stream<Item = Result<T, E>> + Unpin)) -> T {
    soon(stream.next()).await.expect("another item").expect("an event")
}

/// Waits until the stream of the list shows the session in that state.
async fn wait_for(client: &Client, hash: SessionHash, state: State) -> Session {
    let mut lists = client.watch_list();
    loop {
        let list = next(&mut lists).await;
        if let Some(session) =
            list.sessions.into_iter().find(|session| session.hash == hash && session.state == state)
        {
            return session;
        }
    }
}

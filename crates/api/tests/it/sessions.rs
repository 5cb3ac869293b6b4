//! The life of a session, through the typed client.

#![expect(clippy::disallowed_methods, reason = "a test reads whole answers of the servers that it started")]

use std::time::Duration;

use api::{
    testing::{TOKEN, USER},
    wire::{CreateSession, State},
};
use pod_manager::{Credentials, Token, UnsavedWork};

use crate::{ALICE, BOB, REPO, create, router, session_on, soon, wait_for};

#[tokio::test]
async fn a_session_is_created_once_and_its_url_leads_to_its_conversation() {
    let router = router().await;
    let alice = router.client(ALICE);
    let first = soon(alice.create(&session_on("fix"))).await.expect("a session");
    let again = soon(alice.create(&session_on("fix"))).await.expect("a session");
    assert!(first.new && !again.new);
    assert_eq!(first.session.hash, again.session.hash);
    let session = wait_for(&alice, first.session.hash, State::Running).await;
    // `/fake/repo` in base64url, and the id of the conversation.
    let url = format!("http://{}.localhost:3000/L2Zha2UvcmVwbw/session/ses_fake1", session.hash);
    assert_eq!(session.url, Some(url));
    assert_eq!(session.title.as_deref(), Some("A title"));
    assert_eq!((session.repo_url.as_deref(), session.branch.as_deref()), (Some(REPO), Some("fix")));
    assert_eq!(soon(alice.get(session.hash)).await.expect("the session"), session);
}

#[tokio::test]
async fn a_new_session_is_201_with_its_location_and_an_existing_one_200() {
    let router = router().await;
    let post = || {
        let request = reqwest::Client::new().post(format!("{}/api/sessions", router.address()));
        soon(request.header(USER, ALICE).json(&session_on("fix")).send())
    };
    let first = post().await.expect("an answer");
    assert_eq!(first.status(), 201);
    let location = first.headers()["location"].to_str().expect("text").to_owned();
    let session: serde_json::Value = soon(first.json()).await.expect("JSON");
    assert_eq!(location, format!("/api/sessions/{}", session["hash"].as_str().expect("a hash")));
    let again = post().await.expect("an answer");
    assert_eq!(again.status(), 200);
    assert!(!again.headers().contains_key("location"));
}

#[tokio::test]
async fn a_new_project_needs_no_fields_and_is_always_a_new_session() {
    let router = router().await;
    let alice = router.client(ALICE);
    let session = CreateSession { initial_message: Some("Write a game.".into()), ..CreateSession::default() };
    let one = soon(alice.create(&session)).await.expect("a session");
    let two = soon(alice.create(&CreateSession::default())).await.expect("a session");
    assert!(one.new && two.new && one.session.hash != two.session.hash);
    let session = wait_for(&alice, one.session.hash, State::Running).await;
    assert_eq!((session.repo_url, session.description.as_deref()), (None, Some("Write a game.")));
}

#[tokio::test]
async fn an_unused_branch_is_suggested_if_none_is_given() {
    let router = router().await;
    let alice = router.client(ALICE);
    let session = CreateSession { repo_url: Some(REPO.into()), ..CreateSession::default() };
    let hash = soon(alice.create(&session)).await.expect("a session").session.hash;
    let branch = soon(alice.get(hash)).await.expect("the session").branch.expect("a branch");
    assert_eq!(branch.split('-').count(), 3, "{branch}");
    let suggested = soon(alice.suggest_branch(REPO)).await.expect("a branch").branch;
    assert_ne!(suggested, branch);
}

#[tokio::test]
async fn a_session_is_stopped_resumed_and_deleted() {
    let router = router().await;
    let alice = router.client(ALICE);
    let hash = create(&alice, "fix").await;
    wait_for(&alice, hash, State::Running).await;
    soon(alice.stop(hash)).await.expect("stopped");
    let stopped = wait_for(&alice, hash, State::Stopped).await;
    assert_eq!(stopped.url, None);
    assert_eq!(stopped.reason.expect("a reason").code, "requested");
    soon(alice.stop(hash)).await.expect("a stopped session may be stopped");
    soon(alice.resume(hash)).await.expect("resumed");
    wait_for(&alice, hash, State::Running).await;
    assert_eq!(soon(alice.resume(hash)).await.expect("resumed").state, State::Running);
    soon(alice.delete(hash)).await.expect("deleted");
    assert_eq!(soon(alice.get(hash)).await.expect_err("deleted").status(), Some(404));
    assert_eq!(soon(alice.delete(hash)).await.expect_err("deleted").status(), Some(404));
    assert!(soon(alice.list()).await.expect("a list").sessions.is_empty());
}

#[tokio::test]
async fn the_session_with_the_latest_activity_comes_first() {
    let router = router().await;
    let alice = router.client(ALICE);
    let mut hashes = Vec::new();
    for branch in ["one", "two", "three"] {
        hashes.insert(0, create(&alice, branch).await);
        router.clock.advance(Duration::from_secs(60));
    }
    let list = soon(alice.list()).await.expect("a list").sessions;
    assert_eq!(list.iter().map(|session| session.hash).collect::<Vec<_>>(), hashes);
}

#[tokio::test]
async fn unsaved_work_and_the_log_are_returned_to_the_owner() {
    let router = router().await;
    let alice = router.client(ALICE);
    let hash = create(&alice, "fix").await;
    wait_for(&alice, hash, State::Running).await;
    router.backend.set_unsaved_work(hash, Some(UnsavedWork { uncommitted_files: 3, unpushed_commits: 1 }));
    let work = soon(alice.work(hash)).await.expect("an answer");
    assert_eq!((work.known, work.uncommitted_files, work.unpushed_commits), (true, 3, 1));
    router.backend.set_unsaved_work(hash, None);
    assert!(!soon(alice.work(hash)).await.expect("an answer").known);

    let url = format!("{}/api/sessions/{hash}/logs?lines=1", router.address());
    let answer = soon(reqwest::Client::new().get(url).header(USER, ALICE).send()).await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
    let last = soon(answer.text()).await.expect("a log");
    let all = soon(alice.logs(hash, 10_000)).await.expect("a log");
    assert!(last.lines().count() == 1 && all.ends_with(&last), "{last:?} of {all:?}");
}

#[tokio::test]
async fn the_site_gets_its_configuration() {
    let router = router().await;
    let config = soon(router.client(BOB).config()).await.expect("the configuration");
    assert_eq!(config.default_repo.as_deref(), Some(REPO));
    assert!(config.ssh_repos && config.local_repos);
    assert_eq!((config.idle_timeout_minutes, config.version.as_str()), (30, "0.1.0-test"));
}

#[tokio::test]
async fn the_users_token_is_passed_to_the_session_that_is_created_or_resumed() {
    let router = router().await;
    let post = async |path: &str, token: Option<&str>| {
        let mut request = reqwest::Client::new().post(format!("{}{path}", router.address()));
        request = request.header(USER, ALICE).json(&session_on("fix"));
        if let Some(token) = token {
            request = request.header(TOKEN, token);
        }
        assert!(soon(request.send()).await.expect("an answer").status().is_success(), "{path}");
    };
    let credentials = |token: &str| Some(Credentials { github_token: Token::parse(token), git_author: None });
    post("/api/sessions", Some("gho_first")).await;
    let hash = create(&router.client(BOB), "fix").await;
    assert_eq!(
        router.backend.credentials(hash),
        Some(Credentials::NONE.clone()),
        "another user has their own"
    );
    let hash = soon(router.client(ALICE).list()).await.expect("a list").sessions[0].hash;
    assert_eq!(router.backend.credentials(hash), credentials("gho_first"));
    post(&format!("/api/sessions/{hash}/resume"), Some("gho_second")).await;
    assert_eq!(router.backend.credentials(hash), credentials("gho_second"));
    let debug = format!("{:?}", router.backend.credentials(hash));
    assert!(!debug.contains("gho_"), "{debug}");
}

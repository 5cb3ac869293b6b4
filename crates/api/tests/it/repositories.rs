//! Repositories and branches on GitHub.

use api::{
    client::ClientError,
    testing::{TestRouter, USER},
    wire::State,
};
use github::testing::{Fault, FaultKind, Repo, User};
use reqwest::header::RETRY_AFTER;

use crate::{ALICE, BOB, create, router, soon, wait_for};

const TOKEN: &str = "ghp_alice";

/// Starts a router; the token's user has this many repositories on GitHub.
async fn router_with(repositories: usize) -> TestRouter {
    let router = router().await;
    let repo = |number| Repo {
        full_name: format!("acme/repo-{number}"),
        private: number == 1,
        branches: vec!["trunk".to_owned(), "fix/it".to_owned()],
        formerly: None,
    };
    let alice = User {
        token: TOKEN.to_owned(),
        id: 1,
        login: "alice".to_owned(),
        name: None,
        repositories: (0..repositories).map(repo).collect(),
        partial: false,
    };
    router.github.with(|github| github.users.push(alice));
    router
}

/// Returns the status, code and sentence of a refusal.
fn refusal<T>(result: Result<T, ClientError>) -> (u16, String, String) {
    match result.err() {
        Some(ClientError::Refused { status, code, message, .. }) => (status, code, message),
        other => panic!("no refusal but {other:?}"),
    }
}

#[tokio::test]
async fn all_repositories_of_the_callers_token_are_listed() {
    let router = router_with(130).await;
    let client = router.client_with_token(ALICE, TOKEN);
    assert!(soon(client.config()).await.expect("a configuration").github_token);
    let all = soon(client.repositories()).await.expect("repositories");
    assert_eq!(all.len(), 130);
    let json = serde_json::to_value(&all[1]).expect("JSON");
    let web = router.github.api_url().replace("/api/v3", "");
    let expected = serde_json::json!({
        "name": "repo-1",
        "fullName": "acme/repo-1",
        "url": format!("{web}/acme/repo-1"),
        "isPrivate": true,
        "defaultBranch": "trunk",
    });
    assert_eq!(json, expected);
    let branches = soon(client.branches("acme/repo-1")).await.expect("branches");
    let names: Vec<_> = branches.iter().map(|branch| branch.name.as_str()).collect();
    assert_eq!(names, ["trunk", "fix/it"]);
}

#[tokio::test]
async fn a_started_sessions_commits_are_by_the_tokens_user() {
    let router = router_with(0).await;
    let client = router.client_with_token(ALICE, TOKEN);
    let author = |router: &TestRouter, hash| {
        let credentials = router.backend.credentials(hash).expect("credentials");
        credentials.git_author.map(|author| author.to_string())
    };
    let hash = create(&client, "fix").await;
    assert_eq!(author(&router, hash).as_deref(), Some("alice <1+alice@users.noreply.127.0.0.1>"));

    router.github.with(|github| github.users[0].name = Some("Alice Smith".to_owned()));
    wait_for(&client, hash, State::Running).await;
    soon(client.stop(hash)).await.expect("a stop");
    wait_for(&client, hash, State::Stopped).await;
    soon(client.resume(hash)).await.expect("a start");
    // For a minute, GitHub is not asked again.
    assert_eq!(author(&router, hash).as_deref(), Some("alice <1+alice@users.noreply.127.0.0.1>"));
    assert_eq!(router.github.with(|github| github.calls.clone()), ["/user"]);
}

#[tokio::test]
async fn a_start_neither_fails_nor_asks_again_if_github_does_not_know_the_author() {
    let router = router_with(0).await;
    router.github.set_faults(vec![Fault { path: String::new(), kind: FaultKind::Status { status: 500 } }]);
    let client = router.client_with_token(ALICE, TOKEN);
    for branch in ["one", "two", "three"] {
        let hash = create(&client, branch).await;
        assert_eq!(router.backend.credentials(hash).expect("credentials").git_author, None);
    }
    assert_eq!(router.github.with(|github| github.calls.clone()), ["/user"]);
    // Without a token, GitHub is not asked at all.
    create(&router.client(BOB), "fix").await;
    assert_eq!(router.github.with(|github| github.calls.len()), 1);
}

#[tokio::test]
async fn without_a_token_the_answer_says_so_and_github_is_not_asked() {
    let router = router_with(1).await;
    let client = router.client(BOB);
    let config = soon(client.config()).await.expect("a configuration");
    assert!(!config.github_token && config.github_url.starts_with("http://127.0.0.1:"), "{config:?}");
    for (status, code, message) in
        [refusal(soon(client.repositories()).await), refusal(soon(client.branches("acme/repo-0")).await)]
    {
        // 401 would mean that the caller is not signed in.
        assert_eq!((status, code.as_str()), (403, "github_token_required"));
        assert!(message.starts_with("GitHub token required."), "{message}");
    }
    assert_eq!(router.github.with(|github| github.calls.len()), 0);
}

#[tokio::test]
async fn a_repository_that_is_not_owner_and_name_never_reaches_github() {
    let router = router_with(1).await;
    let client = router.client_with_token(ALICE, TOKEN);
    for repo in ["", "acme", "acme/..", "../user", "acme/repo-0/../../user", "https://github.com/acme/repo-0"]
    {
        let (status, code, _) = refusal(soon(client.branches(repo)).await);
        assert_eq!((status, code.as_str()), (400, "invalid_repository"), "{repo:?}");
    }
    assert_eq!(router.github.with(|github| github.calls.len()), 0);
}

#[tokio::test]
async fn githubs_refusals_are_sentences_with_a_code() {
    let sso = "https://github.com/orgs/acme/sso".to_owned();
    for (kind, expected, words) in [
        (FaultKind::Status { status: 401 }, (403, "github_token_refused"), "Sign out and in again"),
        (FaultKind::Status { status: 403 }, (403, "github_forbidden"), "permission"),
        (FaultKind::Sso { url: sso.clone() }, (403, "github_sso_required"), sso.as_str()),
        (FaultKind::Status { status: 404 }, (404, "github_not_found"), "don't have access"),
        (FaultKind::SecondaryLimit { seconds: 30 }, (429, "github_rate_limited"), "seconds"),
        (FaultKind::RateLimit { seconds: 1800 }, (429, "github_rate_limited"), "30 minutes"),
        (FaultKind::Status { status: 502 }, (503, "github_unavailable"), "Try again in a moment"),
        (FaultKind::Html, (503, "github_unavailable"), "Try again in a moment"),
    ] {
        let router = router_with(1).await;
        router.github.set_faults(vec![Fault { path: String::new(), kind }]);
        let client = router.client_with_token(ALICE, TOKEN);
        let (status, code, message) = refusal(soon(client.branches("acme/repo-0")).await);
        assert_eq!((status, code.as_str()), expected);
        assert!(message.contains(words) && message.ends_with('.'), "{message}");
    }
}

#[tokio::test]
async fn a_limit_says_when_to_ask_again_and_a_partial_list_that_it_is_one() {
    let get = async |router: &TestRouter| {
        let request = reqwest::Client::new().get(format!("{}/api/user/repos", router.address()));
        soon(request.header(USER, ALICE).header(api::testing::TOKEN, TOKEN).send()).await.expect("an answer")
    };
    let router = router_with(1).await;
    router.github.with(|github| github.users[0].partial = true);
    assert_eq!(get(&router).await.headers()["x-incomplete"], "sso");

    let router = router_with(1).await;
    let limit = FaultKind::SecondaryLimit { seconds: 30 };
    router.github.set_faults(vec![Fault { path: String::new(), kind: limit }]);
    let answer = get(&router).await;
    let seconds = answer.headers()[RETRY_AFTER].to_str().ok().and_then(|text| text.parse().ok());
    assert!(seconds.is_some_and(|seconds: u32| (1..=30).contains(&seconds)), "{seconds:?}");
}

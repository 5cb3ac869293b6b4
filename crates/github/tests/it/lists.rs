//! Repositories and branches, page by page, and what is asked again.

use std::time::Duration;

use futures_util::future::join_all;
use github::{GithubError, RepoName};

use crate::{TOKEN, client, client_with, names, octocat, soon, stand_in};

#[tokio::test]
async fn all_pages_are_read() {
    let github = stand_in(250).await;
    let list = soon(client(&github).repositories(TOKEN)).await.expect("repositories");
    let all: Vec<_> = list.iter().collect();
    assert_eq!(all.len(), 250);
    assert!(!list.truncated && !list.partial);
    let second = all[101];
    assert_eq!((second.name.as_str(), second.full_name.as_str()), ("repo-101", "octocat/repo-101"));
    assert!(second.private && !all[100].private);
    assert_eq!(second.default_branch, "main");
    assert!(second.html_url.ends_with("/octocat/repo-101"), "{}", second.html_url);
    assert_eq!(
        github.with(|model| model.calls.clone()),
        [
            "/user/repos?per_page=100&sort=updated",
            "/user/repos?per_page=100&sort=updated&page=2",
            "/user/repos?per_page=100&sort=updated&page=3",
        ]
    );
}

#[tokio::test]
async fn simultaneous_requests_ask_github_once() {
    let github = stand_in(3).await;
    let client = client_with(&github, |_| {});
    let lists = soon(join_all((0..50).map(|_| client.repositories(TOKEN)))).await;
    assert!(lists.iter().all(|list| list.as_ref().is_ok_and(|list| list.iter().count() == 3)));
    assert_eq!(github.with(|model| model.calls.len()), 1);
}

#[tokio::test]
async fn pages_that_did_not_change_cost_nothing_of_the_rate_limit() {
    let github = stand_in(250).await;
    let client = client(&github);
    let before = names(&client).await;
    assert_eq!(names(&client).await, before);
    assert_eq!(github.with(|model| (model.calls.len(), model.counted)), (6, 3));

    github.with(|model| model.users[0].repositories[249].full_name = "octocat/renamed".to_owned());
    assert_eq!(names(&client).await.last().map(String::as_str), Some("octocat/renamed"));
    assert_eq!(github.with(|model| (model.calls.len(), model.counted)), (9, 4));

    github.with(|model| model.users[0].repositories.truncate(50));
    assert_eq!(names(&client).await.len(), 50);
}

#[tokio::test]
async fn a_list_ends_at_the_limit_of_pages_and_says_so() {
    let github = stand_in(250).await;
    let client = client_with(&github, |settings| settings.max_pages = 2);
    let list = soon(client.repositories(TOKEN)).await.expect("repositories");
    assert_eq!((list.iter().count(), list.truncated), (200, true));
}

#[tokio::test]
async fn branches_are_those_of_the_repository_also_after_it_was_renamed() {
    let github = stand_in(2).await;
    github.with(|model| {
        let repo = &mut model.users[0].repositories[1];
        repo.branches = (0..120).map(|number| format!("feature/{number}")).collect();
        repo.formerly = Some("octocat/old-name".to_owned());
    });
    let client = client(&github);
    for name in ["octocat/repo-1", "octocat/old-name"] {
        let name = RepoName::parse(name).expect("a name");
        let branches = soon(client.branches(TOKEN, &name)).await.expect("branches");
        let branches: Vec<_> = branches.iter().map(|branch| branch.name.as_str()).collect();
        assert_eq!((branches.len(), branches[119]), (120, "feature/119"), "{name}");
    }
    let unknown = RepoName::parse("octocat/unknown").expect("a name");
    let refused = soon(client.branches(TOKEN, &unknown)).await.err();
    assert_eq!(refused, Some(GithubError::NotFound));
}

#[tokio::test]
async fn one_tokens_list_is_never_anothers() {
    let github = stand_in(2).await;
    github.with(|model| {
        let mut other = octocat(0);
        other.token = "ghp_other".to_owned();
        model.users.push(other);
    });
    let client = client_with(&github, |settings| settings.fresh = Duration::from_secs(3600));
    assert_eq!(names(&client).await.len(), 2);
    let others = soon(client.repositories("ghp_other")).await.expect("repositories");
    assert_eq!(others.iter().count(), 0);
    let strangers = soon(client.repositories("ghp_stranger")).await.err();
    assert_eq!(strangers, Some(GithubError::Unauthorized));
}

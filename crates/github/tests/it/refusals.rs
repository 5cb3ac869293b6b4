//! GitHub's limits and refusals.

use std::time::Duration;

use github::{GithubError, testing::FaultKind};

use crate::{TOKEN, client, fault, names, soon, stand_in};

#[tokio::test]
async fn a_limit_says_how_long_to_wait_and_nothing_is_asked_meanwhile() {
    for kind in [FaultKind::RateLimit { seconds: 600 }, FaultKind::SecondaryLimit { seconds: 600 }] {
        let github = stand_in(1).await;
        github.set_faults(fault("/user/repos", kind));
        let client = client(&github);
        for _ in 0..3 {
            match soon(client.repositories(TOKEN)).await.err() {
                Some(GithubError::RateLimited { retry_after }) => {
                    assert!(retry_after > Duration::from_secs(500), "{retry_after:?}");
                    assert!(retry_after <= Duration::from_secs(601), "{retry_after:?}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(github.with(|model| model.calls.len()), 1);
    }
}

#[tokio::test]
async fn the_last_list_is_shown_while_github_limits_or_fails() {
    for kind in [FaultKind::RateLimit { seconds: 600 }, FaultKind::Status { status: 502 }] {
        let github = stand_in(3).await;
        let client = client(&github);
        assert_eq!(names(&client).await.len(), 3);
        github.set_faults(fault("", kind));
        assert_eq!(names(&client).await.len(), 3);
    }
}

#[tokio::test]
async fn a_revoked_token_shows_nothing_any_more() {
    let github = stand_in(3).await;
    let client = client(&github);
    assert_eq!(names(&client).await.len(), 3);
    github.with(|model| model.users.clear());
    for _ in 0..3 {
        let refused = soon(client.repositories(TOKEN)).await.err();
        assert_eq!(refused, Some(GithubError::Unauthorized));
    }
    // GitHub blocks addresses that send invalid tokens often.
    assert_eq!(github.with(|model| model.calls.len()), 2);
}

#[tokio::test]
async fn single_sign_on_is_told_from_other_refusals() {
    let github = stand_in(1).await;
    let url = "https://github.com/orgs/acme/sso?authorization_request=x".to_owned();
    github.set_faults(fault("/user/repos", FaultKind::Sso { url: url.clone() }));
    let client = client(&github);
    let refused = soon(client.repositories(TOKEN)).await.err();
    assert_eq!(refused, Some(GithubError::SsoRequired { url: Some(url) }));

    github.set_faults(fault("/user/repos", FaultKind::Status { status: 403 }));
    assert_eq!(soon(client.repositories(TOKEN)).await.err(), Some(GithubError::Forbidden));

    github.set_faults(Vec::new());
    github.with(|model| model.users[0].partial = true);
    let list = soon(client.repositories(TOKEN)).await.expect("a partial list");
    assert!(list.partial);
}

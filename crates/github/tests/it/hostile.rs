//! Answers that are not GitHub's.

use std::time::Duration;

use github::{GithubError, testing::FaultKind};

use crate::{TOKEN, client, client_with, fault, soon, stand_in};

#[tokio::test]
async fn neither_redirects_nor_next_pages_lead_the_token_elsewhere() {
    let (github, elsewhere) = (stand_in(1).await, stand_in(1).await);
    let outside = format!("{}/user/repos", elsewhere.api_url());
    let above = github.control_url();
    for address in [outside, above, "file:///etc/passwd".to_owned()] {
        for kind in
            [FaultKind::Redirect { location: address.clone() }, FaultKind::Next { next: address.clone() }]
        {
            github.set_faults(fault("/user/repos", kind));
            let refused = soon(client(&github).repositories(TOKEN)).await.err();
            assert!(matches!(refused, Some(GithubError::InvalidAnswer(_))), "{address}: {refused:?}");
        }
    }
    assert_eq!(elsewhere.with(|model| model.calls.len()), 0);
}

#[tokio::test]
async fn redirects_and_pages_in_a_circle_end() {
    let github = stand_in(1).await;
    let itself = format!("{}/user/repos", github.api_url());
    github.set_faults(fault("/user/repos", FaultKind::Redirect { location: itself.clone() }));
    let refused = soon(client(&github).repositories(TOKEN)).await.err();
    assert!(matches!(refused, Some(GithubError::InvalidAnswer(_))), "{refused:?}");

    github.set_faults(fault("/user/repos", FaultKind::Next { next: itself }));
    let list = soon(client(&github).repositories(TOKEN)).await.expect("a list");
    assert!(list.truncated);
}

#[tokio::test]
async fn an_endless_answer_and_none_at_all_are_given_up() {
    let github = stand_in(1).await;
    github.set_faults(fault("", FaultKind::Endless));
    let refused = soon(client(&github).repositories(TOKEN)).await.err();
    assert!(matches!(refused, Some(GithubError::InvalidAnswer(_))), "{refused:?}");

    github.set_faults(fault("", FaultKind::Silent));
    let client = client_with(&github, |settings| settings.deadline = Duration::from_millis(50));
    let refused = soon(client.repositories(TOKEN)).await.err();
    assert!(matches!(refused, Some(GithubError::Unreachable(_))), "{refused:?}");
}

#[tokio::test]
async fn a_page_for_people_is_no_list() {
    let github = stand_in(1).await;
    github.set_faults(fault("", FaultKind::Html));
    let refused = soon(client(&github).repositories(TOKEN)).await.err();
    assert!(matches!(refused, Some(GithubError::InvalidAnswer(_))), "{refused:?}");
}

#[tokio::test]
async fn errors_name_no_token() {
    let github = stand_in(1).await;
    let client = client(&github);
    drop(github);
    let refused = soon(client.repositories(TOKEN)).await.expect_err("an error");
    assert!(!format!("{refused} {refused:?} {client:?}").contains(TOKEN));
}

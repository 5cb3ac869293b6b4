//! Who commits are made by.

use std::time::Duration;

use github::testing::FaultKind;

use crate::{TOKEN, client, client_with, fault, soon, stand_in};

#[tokio::test]
async fn the_author_is_the_tokens_user_with_an_address_that_receives_no_mail() {
    let github = stand_in(0).await;
    let author = soon(client(&github).author(TOKEN)).await.expect("an author");
    assert_eq!(author.name, "The Octocat");
    assert_eq!(author.email, "583231+octocat@users.noreply.127.0.0.1");

    github.with(|model| model.users[0].name = Some(" ".to_owned()));
    let author = soon(client(&github).author(TOKEN)).await.expect("an author");
    assert_eq!(author.name, "octocat");
    assert!(!format!("{author:?}").contains("octocat"));
}

#[tokio::test]
async fn a_github_that_does_not_answer_delays_one_start_and_not_the_next() {
    let github = stand_in(0).await;
    github.set_faults(fault("/user", FaultKind::Silent));
    let client = client_with(&github, |settings| settings.author_timeout = Duration::from_millis(50));
    assert_eq!(soon(client.author(TOKEN)).await, None);

    github.set_faults(Vec::new());
    let calls = github.with(|model| model.calls.len());
    assert_eq!(soon(client.author(TOKEN)).await, None);
    assert_eq!(github.with(|model| model.calls.len()), calls);
}

#[tokio::test]
async fn a_refused_token_has_no_author() {
    let github = stand_in(0).await;
    assert_eq!(soon(client(&github).author("ghp_stranger")).await, None);
}

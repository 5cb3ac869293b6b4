//! delete and its confirmation.

use std::{fs::File, io::Write};

use nix::pty::openpty;
use pod_manager::UnsavedWork;
use session_key::SessionHash;

use crate::{ALICE, Run, output, program, run, running_session, soon, start_router};
use api::testing::TestRouter;

async fn exists(router: &TestRouter, hash: SessionHash) -> bool {
    soon(router.client(ALICE).get(hash)).await.is_ok()
}

/// Runs `delete` in a terminal and types the answer.
async fn delete_answering(router: &TestRouter, hash: SessionHash, answer: &str) -> Run {
    let terminal = openpty(None, None).expect("a terminal");
    File::from(terminal.master.try_clone().expect("the other end"))
        .write_all(answer.as_bytes())
        .expect("the answer is typed");
    let mut command = program(router.address());
    command.args(["delete", &hash.to_string()[..6]]).stdin(terminal.slave);
    output(command).await
}

#[tokio::test]
async fn the_question_names_the_work_that_would_be_lost() {
    let router = start_router().await;
    let hash = running_session(&router, "fix").await;
    router.backend.set_unsaved_work(hash, Some(UnsavedWork { uncommitted_files: 3, unpushed_commits: 1 }));
    for answer in ["n\n", "\n", "perhaps\n"] {
        let declined = delete_answering(&router, hash, answer).await;
        declined.failure(1, "Deleting loses 3 uncommitted files and 1 commit that is not pushed.");
        assert!(declined.err.contains("was not deleted"), "{declined:?}");
        assert!(exists(&router, hash).await);
    }
    let confirmed = delete_answering(&router, hash, "y\n").await;
    assert_eq!(confirmed.success(), hash.to_string());
    assert!(!exists(&router, hash).await);
}

#[tokio::test]
async fn without_a_terminal_nothing_is_deleted_unless_yes_is_given() {
    let router = start_router().await;
    let hash = running_session(&router, "fix").await;
    run(&router, &["delete", &hash.to_string()]).await.failure(2, "--yes");
    assert!(exists(&router, hash).await);
    assert_eq!(run(&router, &["delete", "--yes", &hash.to_string()]).await.success(), hash.to_string());
    assert!(!exists(&router, hash).await);
}

#[tokio::test]
async fn a_typo_in_one_name_deletes_nothing() {
    let router = start_router().await;
    let hash = running_session(&router, "fix").await;
    let typo = if hash.to_string().starts_with('0') { "1" } else { "0" };
    let result = run(&router, &["delete", "--yes", &hash.to_string(), typo]).await;
    result.failure(3, "no session's key starts with");
    assert!(exists(&router, hash).await);
}

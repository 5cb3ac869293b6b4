//! delete: what it asks, and whom.

use std::{fs::File, io::Write};

use nix::pty::openpty;
use pod_manager::UnsavedWork;
use session_key::SessionHash;

use crate::{ALICE, Ran, output, program, router, run, running, soon};
use api::testing::TestRouter;

async fn is_there(router: &TestRouter, hash: SessionHash) -> bool {
    soon(router.client(ALICE).get(hash)).await.is_ok()
}

/// Deletes with this answer typed at a terminal.
async fn delete(router: &TestRouter, hash: SessionHash, answer: &str) -> Ran {
    let terminal = openpty(None, None).expect("a terminal");
    File::from(terminal.master.try_clone().expect("its other end"))
        .write_all(answer.as_bytes())
        .expect("typed");
    let mut command = program(router.address());
    command.args(["delete", &hash.to_string()[..6]]).stdin(terminal.slave);
    output(command).await
}

#[tokio::test]
async fn a_person_is_asked_with_what_would_be_lost() {
    let router = router().await;
    let hash = running(&router, "fix").await;
    router.backend.set_unsaved_work(hash, Some(UnsavedWork { uncommitted_files: 3, unpushed_commits: 1 }));
    for answer in ["n\n", "\n", "perhaps\n"] {
        let kept = delete(&router, hash, answer).await;
        kept.badly(1, "It would lose 3 files that are not committed, and 1 commit that no remote has.");
        assert!(kept.err.contains("was not deleted"), "{kept:?}");
        assert!(is_there(&router, hash).await);
    }
    let gone = delete(&router, hash, "y\n").await;
    assert_eq!(gone.well(), hash.to_string());
    assert!(!is_there(&router, hash).await);
}

#[tokio::test]
async fn where_nobody_can_be_asked_nothing_is_deleted_without_yes() {
    let router = router().await;
    let hash = running(&router, "fix").await;
    run(&router, &["delete", &hash.to_string()]).await.badly(2, "--yes");
    assert!(is_there(&router, hash).await);
    assert_eq!(run(&router, &["delete", "--yes", &hash.to_string()]).await.well(), hash.to_string());
    assert!(!is_there(&router, hash).await);
}

#[tokio::test]
async fn a_slip_in_one_name_deletes_nothing() {
    let router = router().await;
    let hash = running(&router, "fix").await;
    let slip = if hash.to_string().starts_with('0') { "1" } else { "0" };
    let ran = run(&router, &["delete", "--yes", &hash.to_string(), slip]).await;
    ran.badly(3, "no session's key starts with");
    assert!(is_there(&router, hash).await);
}

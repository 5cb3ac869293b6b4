//! The work that deleting a session would lose.

use std::fs;

use pod_manager::{SessionBackend, Source, UnsavedWork, local::LocalBackend};
use session_key::SessionHash;

use super::harness::{Local, run, script, stop};

async fn unsaved(backend: &LocalBackend, hash: SessionHash) -> Option<(u32, u32)> {
    let work = backend.unsaved_work(hash).await.expect("the session");
    work.map(|UnsavedWork { uncommitted_files, unpushed_commits }| (uncommitted_files, unpushed_commits))
}

#[tokio::test(flavor = "multi_thread")]
async fn unpushed_files_commits_and_stashes_are_counted() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("origin", "work", None));
    run(&backend, &session).await;
    let repo = local.repo(session.hash);
    assert_eq!(unsaved(&backend, session.hash).await, Some((0, 0)));
    fs::create_dir(repo.join("new folder")).expect("a folder");
    for name in ["README.md", "new folder/one", "new folder/two"] {
        fs::write(repo.join(name), "changed").expect("a file");
    }
    assert_eq!(unsaved(&backend, session.hash).await, Some((3, 0)));
    local.git(&repo, &["add", "."]);
    local.git(&repo, &["commit", "-q", "-m", "two"]);
    local.git(&repo, &["switch", "-q", "-c", "aside"]);
    local.git(&repo, &["commit", "-q", "--allow-empty", "-m", "three"]);
    assert_eq!(unsaved(&backend, session.hash).await, Some((0, 2)), "of all branches");
    local.git(&repo, &["push", "-q", "origin", "work"]);
    assert_eq!(unsaved(&backend, session.hash).await, Some((0, 1)));
    fs::write(repo.join("README.md"), "again").expect("a file");
    local.git(&repo, &["stash", "-q"]);
    assert_eq!(unsaved(&backend, session.hash).await, Some((0, 2)), "a stash is work");
    local.git(&repo, &["switch", "-q", "--detach"]);
    local.git(&repo, &["branch", "-q", "-D", "aside"]);
    assert_eq!(unsaved(&backend, session.hash).await, Some((0, 2)), "a detached commit counts");
    stop(&backend, &session).await;
    assert_eq!(unsaved(&backend, session.hash).await, Some((0, 2)), "a stopped session counts, too");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_commit_of_a_new_project_does_not_count() {
    let local = Local::new();
    let mut session = local.session("origin", "main", None);
    session.source = Source::Empty;
    let backend = local.backend().await;
    run(&backend, &session).await;
    assert_eq!(unsaved(&backend, session.hash).await, Some((0, 0)));
    let repo = local.repo(session.hash);
    fs::write(repo.join("a"), "a").expect("a file");
    local.git(&repo, &["add", "."]);
    local.git(&repo, &["commit", "-q", "--amend", "-m", "all of it"]);
    assert_eq!(unsaved(&backend, session.hash).await, Some((0, 1)), "a changed first commit counts");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_work_is_not_reported_as_none() {
    let mut local = Local::new();
    let session = local.session("origin", "main", None);
    let backend = local.backend().await;
    run(&backend, &session).await;
    fs::remove_file(local.repo(session.hash).join(".git/HEAD")).expect("removed");
    assert_eq!(unsaved(&backend, session.hash).await, None, "a damaged repository");
    backend.shutdown().await;

    local.settings.git = script(&local.root().join("git"), "exec sleep 1000");
    local.settings.limits.unsaved_work = std::time::Duration::from_millis(300);
    let backend = local.backend().await;
    assert_eq!(unsaved(&backend, session.hash).await, None, "git does not answer");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_work_runs_no_program_of_the_repository() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    run(&backend, &session).await;
    let repo = local.repo(session.hash);
    let trace = local.root().join("trace");
    let trap = script(&local.root().join("trap"), &format!("echo ran >> '{}'", trace.display()));
    let trap = trap.to_str().expect("text");
    for key in ["core.fsmonitor", "core.pager", "core.askPass", "core.sshCommand"] {
        local.git(&repo, &["config", key, trap]);
    }
    let hooks = repo.join(".git/hooks");
    fs::create_dir_all(&hooks).expect("a folder");
    for hook in ["post-index-change", "post-checkout", "reference-transaction"] {
        script(&hooks.join(hook), &format!("echo ran >> '{}'", trace.display()));
    }
    assert_eq!(unsaved(&backend, session.hash).await, Some((0, 0)));
    stop(&backend, &session).await;
    run(&backend, &session).await;
    assert!(!trace.exists(), "something of the repository's was run");
    backend.shutdown().await;
}

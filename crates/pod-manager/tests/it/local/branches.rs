//! Which branch is checked out, and that work is not touched.

use std::fs;

use pod_manager::{FailureCode, contract::Harness};

use super::harness::{Local, fail, run, script, stop};

async fn check_out(branch: &str, from: Option<&str>) -> (String, String, String) {
    let local = Local::new();
    let work = local.root().join("origin.work");
    let bare = local.root().join("origin.git");
    local.git(&work, &["switch", "-q", "release"]);
    local.git(&work, &["commit", "-q", "--allow-empty", "-m", "released"]);
    local.git(&work, &["push", "-q", bare.to_str().expect("text"), "release"]);
    let (backend, session) = (local.backend().await, local.session("origin", branch, from));
    run(&backend, &session).await;
    let repo = local.repo(session.hash);
    pod_manager::SessionBackend::shutdown(&*backend).await;
    let upstream =
        local.git(&repo, &["for-each-ref", "--format=%(upstream:short)", &format!("refs/heads/{branch}")]);
    let last = local.git(&repo, &["log", "-1", "--format=%s"]);
    (local.git(&repo, &["branch", "--show-current"]), last, upstream)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_branch_is_checked_out_and_tracked() {
    let (branch, last, upstream) = check_out("release", None).await;
    assert_eq!((&*branch, &*last, &*upstream), ("release", "released", "origin/release"));
    let (branch, last, upstream) = check_out("main", Some("release")).await;
    assert_eq!(
        (&*branch, &*last, &*upstream),
        ("main", "one", "origin/main"),
        "an existing branch is not created"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_branch_is_created() {
    let (branch, last, upstream) = check_out("feature/x", None).await;
    assert_eq!((&*branch, &*last, &*upstream), ("feature/x", "one", ""), "from the default branch");
    let (branch, last, upstream) = check_out("feature/x", Some("release")).await;
    assert_eq!((&*branch, &*last, &*upstream), ("feature/x", "released", ""), "from the one named");
    let (branch, last, _) = check_out("README.md", None).await;
    assert_eq!((&*branch, &*last), ("README.md", "one"), "called like a file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_source_branch_fails_the_session() {
    let local = Local::new();
    let backend = local.backend().await;
    let session = local.session("origin", "work", Some("nowhere"));
    let failure = fail(&backend, &session).await;
    assert_eq!(failure.code, FailureCode::BranchNotFound);
    assert!(failure.message.contains("nowhere"), "{}", failure.message);
    assert!(!local.repo(session.hash).exists(), "a clone without its branch is not kept");
    local.git(&local.root().join("origin.git"), &["branch", "nowhere", "main"]);
    run(&backend, &session).await;
    pod_manager::SessionBackend::shutdown(&*backend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_repository_begins_with_the_branch() {
    let local = Local::new();
    local.git(&local.root(), &["init", "-q", "--bare", "empty.git"]);
    let backend = local.backend().await;
    for from in [None, Some("main")] {
        let session = local.session("empty", if from.is_some() { "two" } else { "one" }, from);
        run(&backend, &session).await;
        let branch = local.git(&local.repo(session.hash), &["branch", "--show-current"]);
        assert_eq!(branch, if from.is_some() { "two" } else { "one" });
        stop(&backend, &session).await;
        run(&backend, &session).await;
    }
    pod_manager::SessionBackend::shutdown(&*backend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_clone_is_fetched_and_returns_to_its_branch() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    run(&backend, &session).await;
    stop(&backend, &session).await;
    let (work, bare) = (local.root().join("origin.work"), local.root().join("origin.git"));
    local.git(&work, &["commit", "-q", "--allow-empty", "-m", "new"]);
    local.git(&work, &["push", "-q", bare.to_str().expect("text"), "main"]);
    let repo = local.repo(session.hash);
    local.git(&repo, &["switch", "-q", "-c", "elsewhere"]);
    run(&backend, &session).await;
    assert_eq!(
        local.git(&repo, &["log", "-1", "--format=%s", "origin/main"]),
        "new",
        "the remote was not fetched"
    );
    assert_eq!(
        local.git(&repo, &["branch", "--show-current"]),
        "main",
        "the session's branch is not checked out"
    );
    assert_eq!(local.git(&repo, &["log", "-1", "--format=%s"]), "one", "the remote's commit was merged");
    pod_manager::SessionBackend::shutdown(&*backend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uncommitted_work_is_left_exactly_as_it_is() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    run(&backend, &session).await;
    stop(&backend, &session).await;
    let (work, bare) = (local.root().join("origin.work"), local.root().join("origin.git"));
    local.git(&work, &["commit", "-q", "--allow-empty", "-m", "new"]);
    local.git(&work, &["push", "-q", bare.to_str().expect("text"), "main"]);
    let repo = local.repo(session.hash);
    local.git(&repo, &["switch", "-q", "-c", "elsewhere"]);
    fs::write(repo.join("staged"), "1").expect("a file");
    local.git(&repo, &["add", "staged"]);
    fs::write(repo.join("untracked"), "2").expect("a file");
    fs::write(repo.join("README.md"), "3").expect("a file");
    let state = || {
        let status = local.git(&repo, &["--no-optional-locks", "status", "--porcelain=v2", "--branch"]);
        let refs = local.git(&repo, &["for-each-ref"]);
        let index = fs::read(repo.join(".git/index")).expect("an index");
        (status, refs, index)
    };
    let before = state();
    run(&backend, &session).await;
    assert_eq!(state(), before);
    let log = backend_log(&backend, session.hash).await;
    assert!(log.contains("There are uncommitted changes"), "{log}");
    pod_manager::SessionBackend::shutdown(&*backend).await;
}

async fn backend_log(backend: &pod_manager::LocalBackend, hash: session_key::SessionHash) -> String {
    pod_manager::SessionBackend::logs(backend, hash, 200).await.expect("logs")
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_on_no_branch_stay_checked_out() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    run(&backend, &session).await;
    stop(&backend, &session).await;
    let repo = local.repo(session.hash);
    local.git(&repo, &["switch", "-q", "--detach"]);
    local.git(&repo, &["commit", "-q", "--allow-empty", "-m", "loose"]);
    run(&backend, &session).await;
    assert_eq!(local.git(&repo, &["log", "-1", "--format=%s"]), "loose");
    pod_manager::SessionBackend::shutdown(&*backend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_starts_without_its_remote() {
    let mut local = Local::new();
    let session = local.startable().await;
    let backend = local.backend().await;
    run(&backend, &session).await;
    stop(&backend, &session).await;
    fs::rename(local.root().join("origin.git"), local.root().join("moved.git")).expect("moved");
    run(&backend, &session).await;
    let log = backend_log(&backend, session.hash).await;
    assert!(log.contains("The remote is unreachable"), "{log}");
    pod_manager::SessionBackend::shutdown(&*backend).await;

    let lines = "case \"$*\" in *\"fetch --progress\"*) exec sleep 1000;; esac\nexec git \"$@\"";
    local.settings.git = script(&local.root().join("git"), lines);
    local.settings.limits.fetch = std::time::Duration::from_millis(300);
    let backend = local.backend().await;
    run(&backend, &session).await;
    let log = backend_log(&backend, session.hash).await;
    assert!(log.contains("did not answer in time"), "{log}");
    pod_manager::SessionBackend::shutdown(&*backend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_repository_is_not_replaced_by_one_further_up() {
    let local = Local::new();
    // The state folder lies in a repository, as it may in a project's own folder.
    local.git(&local.root(), &["init", "-q", "-b", "outer"]);
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    run(&backend, &session).await;
    stop(&backend, &session).await;
    fs::rename(local.repo(session.hash).join(".git"), local.repo(session.hash).join("git")).expect("moved");
    run(&backend, &session).await;
    assert_eq!(local.git(&local.root(), &["symbolic-ref", "HEAD"]), "refs/heads/outer");
    let log = backend_log(&backend, session.hash).await;
    assert!(log.contains("git cannot read the repository"), "{log}");
    pod_manager::SessionBackend::shutdown(&*backend).await;
}

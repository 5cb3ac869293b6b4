//! The script that prepares a Pod's repository: clones, branches, and why it fails. tests/it/resume tests it
//! on clones that hold work.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    process::{Command, Stdio},
};

use crate::{
    local::harness::script as program,
    resume::script::{OnScript, text},
};

/// Runs the script, which has to check the branch out; returns its output.
#[track_caller]
fn check_out(script: &OnScript, branch: &str, source: Option<&str>) -> String {
    let output = script.run(branch, source);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(script.local.git(&script.workspace(), &["symbolic-ref", "--short", "HEAD"]), branch);
    text(&output)
}

#[track_caller]
fn readme(script: &OnScript) -> String {
    fs::read_to_string(script.workspace().join("README.md")).expect("README.md")
}

#[test]
fn a_clone_is_reported_line_by_line_and_has_the_branch() {
    let script = OnScript::new();
    let output = check_out(&script, "release", None);
    assert!(output.lines().any(|line| line == "opencode-router: cloning"), "{output}");
    assert!(!output.contains('\r'), "{output:?}");
    assert!(output.lines().any(|line| line.starts_with("Receiving objects: 100%")), "{output}");
    assert_eq!(readme(&script), "released\n");
    let output = check_out(&script, "release", None);
    assert!(!output.contains("opencode-router: cloning"), "{output}");
}

#[test]
fn a_missing_branch_is_created_from_its_source_or_the_default_branch() {
    let script = OnScript::new();
    check_out(&script, "work/1", Some("release"));
    check_out(&script, "work/2", None);
    check_out(&script, "work/1", Some("gone"));
}

#[test]
fn a_missing_source_branch_fails_every_attempt() {
    let script = OnScript::new();
    for _ in 0..2 {
        let output = script.run("work/3", Some("gone"));
        assert_eq!(output.status.code(), Some(3));
        assert!(text(&output).ends_with("opencode-router: branch_not_found gone\n"), "{}", text(&output));
        assert_eq!(fs::read_dir(script.workspace()).expect("a folder").count(), 0);
    }
}

#[test]
fn a_clone_that_fails_reports_its_cause_and_exit_code() {
    let script = OnScript::new();
    fs::remove_dir_all(script.local.root().join("origin.git")).expect("removed");
    let output = script.run("main", None);
    assert_eq!(output.status.code(), Some(128));
    assert!(text(&output).contains("does not appear to be a git repository"), "{}", text(&output));
}

#[test]
fn uncommitted_work_is_left_as_it_is() {
    let script = OnScript::new();
    check_out(&script, "main", None);
    fs::write(script.workspace().join("README.md"), "mine").expect("written");
    assert!(script.run("release", None).status.success());
    assert_eq!(script.local.git(&script.workspace(), &["symbolic-ref", "--short", "HEAD"]), "main");
    assert_eq!(readme(&script), "mine");
}

#[test]
fn an_interrupted_clone_is_made_again() {
    let script = OnScript::new();
    let git = script.workspace().join(".git");
    fs::create_dir(&git).expect("a folder");
    fs::write(git.join("HEAD"), "ref: refs/heads/main\n").expect("written");
    fs::create_dir(script.workspace().join(".opencode-clone")).expect("a folder");
    check_out(&script, "main", None);
    assert_eq!(readme(&script), "hello\n");
}

#[test]
fn a_session_starts_without_its_remote() {
    let script = OnScript::new();
    check_out(&script, "main", None);
    fs::remove_dir_all(script.local.root().join("origin.git")).expect("removed");
    let output = check_out(&script, "main", None);
    assert!(output.contains("continuing without it"), "{output}");
}

#[test]
fn a_fetch_beside_opencode_delays_nothing_and_leaves_what_is_checked_out_meanwhile() {
    let script = OnScript::beside();
    check_out(&script, "release", None);
    let (root, workspace) = (script.local.root(), script.workspace());
    script.local.git(&root.join("origin.git"), &["branch", "newer", "main"]);
    // git fetches once something is written here.
    let begin = root.join("begin");
    assert!(Command::new("mkfifo").arg(&begin).status().expect("mkfifo runs").success());
    let git = format!(
        "PATH=${{PATH#*:}}\ncase \" $* \" in *' fetch '*) read -r _ <'{}' ;; esac\nexec git \"$@\"",
        begin.display()
    );
    fs::create_dir(root.join("bin")).expect("a folder");
    program(&root.join("bin/git"), &git);
    let mut command = script.command_for("release", None);
    let path = command.get_envs().find_map(|(name, value)| value.filter(|_| name == "PATH"));
    let path = format!("{}:{}", root.join("bin").display(), path.expect("a PATH").display());
    command.env("PATH", path);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("sh runs");
    let mut output = child.stdout.take().expect("a pipe");
    assert!(child.wait().expect("it ends").success(), "before the fetch");
    script.local.git(&workspace, &["switch", "-q", "-c", "mine"]);
    fs::write(&begin, "now\n").expect("written");
    output.read_to_end(&mut Vec::new()).expect("read until the fetch has ended");
    script.local.git(&workspace, &["rev-parse", "--verify", "refs/remotes/origin/newer"]);
    assert_eq!(script.local.git(&workspace, &["symbolic-ref", "--short", "HEAD"]), "mine");
}

#[test]
fn a_new_project_begins_with_one_empty_commit_and_is_not_touched_again() {
    let script = OnScript::new();
    let workspace = script.workspace();
    assert!(script.run_empty(&BTreeMap::new()).status.success());
    assert_eq!(script.local.git(&workspace, &["log", "--format=%s"]), "Start");
    script.local.git(&workspace, &["switch", "-q", "--orphan", "fresh"]);
    fs::write(workspace.join("staged"), "mine").expect("written");
    script.local.git(&workspace, &["add", "."]);
    assert!(script.run_empty(&BTreeMap::new()).status.success());
    assert_eq!(script.local.git(&workspace, &["status", "--porcelain"]), "A  staged");
    assert_eq!(script.local.git(&workspace, &["rev-list", "--all", "--count"]), "1");
}

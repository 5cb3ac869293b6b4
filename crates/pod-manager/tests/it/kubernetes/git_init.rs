//! The init container's script, run by the shell of this machine on real repositories.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

const SCRIPT: &str = include_str!("../../../src/kubernetes/objects/git-init.sh");

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// A remote with the branches `main` and `dev`.
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().expect("a folder") };
        for name in ["workspace", "home", "seed"] {
            std::fs::create_dir(place.path(name)).expect("a folder");
        }
        let seed = place.path("seed");
        place.git(&seed, &["init", "--quiet", "--initial-branch=main", "."]);
        std::fs::write(seed.join("file"), "text").expect("a file");
        place.git(&seed, &["add", "."]);
        place.git(&seed, &["commit", "--quiet", "-m", "First"]);
        place.git(&seed, &["branch", "dev"]);
        place.git(place.dir.path(), &["clone", "--quiet", "--bare", "seed", "remote.git"]);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, program: &str, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(dir).env("HOME", self.path("home")).env("TMPDIR", self.path("home"));
        for (name, value) in [("AUTHOR", "a"), ("COMMITTER", "a")] {
            command.env(format!("GIT_{name}_NAME"), value).env(format!("GIT_{name}_EMAIL"), "a@example.com");
        }
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command
    }

    #[track_caller]
    fn git(&self, dir: &Path, args: &[&str]) -> String {
        let done = self.command("git", dir).args(args).output().expect("git");
        assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    fn run(&self, branch: &str, from: Option<&str>) -> Output {
        let workspace = self.path("workspace");
        // The one thing that differs from the container.
        let script = SCRIPT.replace("cd /workspace", "cd \"$WORKSPACE\"");
        assert_ne!(script, SCRIPT);
        let mut command = self.command("sh", &workspace);
        command.args(["-c", &script]).env("WORKSPACE", &workspace).env("BRANCH", branch);
        command.env("REPO_URL", format!("file://{}", self.path("remote.git").display()));
        command.envs(from.map(|from| ("SOURCE_BRANCH", from)));
        command.output().expect("sh")
    }

    #[track_caller]
    fn fill(&self, branch: &str, from: Option<&str>) -> String {
        let done = self.run(branch, from);
        let said =
            [done.stdout, done.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        assert!(done.status.success(), "{said}");
        assert_eq!(self.git(&self.path("workspace"), &["symbolic-ref", "--short", "HEAD"]), branch);
        said
    }
}

#[test]
fn a_clone_is_told_line_by_line_and_has_the_branch() {
    let place = Place::new();
    let said = place.fill("dev", None);
    assert!(!said.contains('\r'), "{said:?}");
    assert!(said.lines().any(|line| line.starts_with("Receiving objects: 100%")), "{said}");
    assert_eq!(std::fs::read_to_string(place.path("workspace").join("file")).expect("there"), "text");
    place.fill("dev", None);
}

#[test]
fn a_branch_that_is_nowhere_is_made_from_the_one_named_or_the_default_one() {
    let place = Place::new();
    place.fill("work/1", Some("dev"));
    place.fill("work/2", None);
    place.fill("work/1", Some("gone"));
    let place = Place::new();
    for _ in 0..2 {
        let missing = place.run("work/3", Some("gone"));
        assert_eq!(missing.status.code(), Some(3));
        let stderr = String::from_utf8_lossy(&missing.stderr);
        assert!(stderr.ends_with("opencode-router: branch_not_found gone\n"), "{stderr}");
        let files = std::fs::read_dir(place.path("workspace")).expect("a folder").count();
        assert_eq!(files, 0, "the next attempt fails in the same way");
    }
}

#[test]
fn a_clone_that_fails_says_why_and_how_it_ended() {
    let place = Place::new();
    std::fs::remove_dir_all(place.path("remote.git")).expect("gone");
    let failed = place.run("main", None);
    assert_eq!(failed.status.code(), Some(128));
    let said =
        [failed.stdout, failed.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(said.contains("does not appear to be a git repository"), "{said}");
}

#[test]
fn work_that_is_not_committed_is_left_as_it_is() {
    let place = Place::new();
    place.fill("main", None);
    std::fs::write(place.path("workspace").join("file"), "mine").expect("written");
    let done = place.run("dev", None);
    assert!(done.status.success());
    assert_eq!(place.git(&place.path("workspace"), &["symbolic-ref", "--short", "HEAD"]), "main");
    assert_eq!(std::fs::read_to_string(place.path("workspace").join("file")).expect("there"), "mine");
}

#[test]
fn what_an_interrupted_clone_left_is_made_anew() {
    let place = Place::new();
    let git = place.path("workspace").join(".git");
    std::fs::create_dir(&git).expect("a folder");
    std::fs::write(git.join("HEAD"), "ref: refs/heads/main\n").expect("written");
    std::fs::create_dir(place.path("workspace").join(".opencode-clone")).expect("a folder");
    place.fill("main", None);
    assert_eq!(std::fs::read_to_string(place.path("workspace").join("file")).expect("there"), "text");
}

#[test]
fn with_the_remote_away_a_session_starts_with_what_it_has() {
    let place = Place::new();
    place.fill("main", None);
    std::fs::remove_dir_all(place.path("remote.git")).expect("gone");
    let said = place.fill("main", None);
    assert!(said.contains("continuing without it"), "{said}");
}

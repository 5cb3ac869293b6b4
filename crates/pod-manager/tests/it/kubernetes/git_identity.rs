//! Who a Pod's commits are by, with the real git and the Pod's own variables and files.

#![expect(clippy::disallowed_methods, reason = "programs are found by the PATH of the test")]

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command, time::UNIX_EPOCH};

use pod_manager::{
    GitAuthor, KubernetesSettings, Session, Source,
    kubernetes::objects::{names::annotation, pod::make_pod},
};
use session_key::{Identity, SessionHash};

use crate::resume::script::{OnScript, text};

/// A home and a repository with a Pod's environment.
struct InPod {
    folder: tempfile::TempDir,
    variables: BTreeMap<String, String>,
}

impl InPod {
    fn new(owner: &str) -> Self {
        let session = Session {
            hash: SessionHash::parse("a48da0606867").expect("a hash"),
            owner: Identity::parse(owner).expect("an address"),
            source: Source::Empty,
            initial_message: None,
            created_at: UNIX_EPOCH,
        };
        let pod = make_pod(&session, &KubernetesSettings::new("image"), UNIX_EPOCH);
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("home")).expect("a folder");
        let config = &pod.metadata.annotations.as_ref().expect("annotations")[&annotation("git-config")];
        // The image's own configuration of git is the test's.
        let of_image = folder.path().join("image").display().to_string();
        fs::write(folder.path().join("gitconfig"), config.replace("/etc/gitconfig", &of_image))
            .expect("a file");
        let spec = pod.spec.expect("a specification");
        let variables = spec.containers[0].env.iter().flatten();
        let variables = variables.filter(|variable| variable.name.starts_with("GIT_")).map(|variable| {
            let value = variable.value.clone().unwrap_or_default().replace("$$", "$");
            (
                variable.name.clone(),
                value.replace("/etc/opencode-router", &folder.path().display().to_string()),
            )
        });
        let pod = Self { variables: variables.collect(), folder };
        pod.git(&["init", "--quiet", "repo"]);
        pod
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[track_caller]
    fn git(&self, args: &[&str]) -> String {
        let repo = self.path("repo");
        let output = Command::new("git")
            .args(args)
            .current_dir(if repo.exists() { &repo } else { self.folder.path() })
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("a PATH"))
            .env("HOME", self.path("home"))
            .envs(&self.variables)
            .output()
            .expect("git runs");
        assert!(output.status.success(), "git {args:?}: {}", text(&output));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// Makes a commit; returns its author and its committer.
    #[track_caller]
    fn commit(&self) -> String {
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "test"]);
        let commit = self.git(&["log", "-1", "--format=%an <%ae>%n%cn <%ce>"]);
        let (author, committer) = commit.split_once('\n').expect("two lines");
        assert_eq!(author, committer);
        author.to_owned()
    }
}

#[test]
fn commits_are_by_the_owner_unless_somebody_configured_another_author() {
    let pod = InPod::new("alice.smith@example.com");
    assert_eq!(pod.commit(), "Alice Smith <alice.smith@example.com>");
    // From the weakest to the strongest.
    fs::write(pod.path("image"), "[user]\n\tname = Company\n").expect("a file");
    assert_eq!(pod.commit(), "Company <alice.smith@example.com>");
    pod.git(&["config", "--global", "user.name", "Alice"]);
    assert_eq!(pod.commit(), "Alice <alice.smith@example.com>");
    pod.git(&["config", "user.email", "alice@project.example"]);
    assert_eq!(pod.commit(), "Alice <alice@project.example>");
    assert_eq!(pod.git(&["config", "--global", "--list"]), "user.name=Alice");
}

#[test]
fn the_author_of_a_volume_of_the_typescript_router_stays() {
    let pod = InPod::new("alice@example.com");
    let file = "[user]\n\tname = Alice L\n\temail = 17+alice@users.noreply.github.com\n[credential]\n\thelper = store\n";
    fs::write(pod.path("home/.gitconfig"), file).expect("a file");
    assert_eq!(pod.commit(), "Alice L <17+alice@users.noreply.github.com>");
    assert_eq!(fs::read_to_string(pod.path("home/.gitconfig")).expect("a file"), file);
}

#[test]
fn a_hostile_address_is_an_author_and_no_configuration() {
    let owner = "a\"]core\\sshcommand=touch$(id);#<x>\u{202e}@example.com";
    let pod = InPod::new(owner);
    let author = GitAuthor::of(&Identity::parse(owner).expect("an address"));
    assert_eq!(pod.commit(), author.to_string());
    let names = pod.git(&["config", "--system", "--list", "--name-only"]);
    assert_eq!(names, "user.name\nuser.email\ninclude.path");
}

#[test]
fn the_first_commit_of_a_new_project_is_by_the_sessions_author() {
    let script = OnScript::new();
    let pod = InPod::new("alice@example.com");
    let output = script.run_empty(&pod.variables);
    assert!(output.status.success(), "{}", text(&output));
    let author =
        |script: &OnScript| script.local.git(&script.workspace(), &["log", "-1", "--format=%an <%ae>"]);
    assert_eq!(author(&script), "alice <alice@example.com>");
    // Also with a git that ignores the variables.
    let script = OnScript::new();
    let output = script.run_empty(&BTreeMap::new());
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(author(&script), "opencode <opencode@localhost>");
}

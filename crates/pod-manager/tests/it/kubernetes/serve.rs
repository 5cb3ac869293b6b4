//! The script that starts opencode in a Pod, run by the shell of this machine: what an image brings along,
//! and the repository that is prepared before.

#![expect(clippy::disallowed_methods, reason = "programs are found by the PATH of the test")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const SCRIPT: &str = include_str!("../../../src/kubernetes/objects/serve.sh");

/// A home on a volume, and an image with an opencode that prints its environment.
struct Container {
    folder: tempfile::TempDir,
    variables: BTreeMap<String, String>,
    /// The script that prepares the repository.
    prepare: Option<&'static str>,
}

impl Container {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let container = Self { folder, variables: BTreeMap::new(), prepare: None };
        container.write("home/repo/.keep", "");
        container.write("bin/opencode", "#!/bin/sh\necho \"arguments: $*\"\nenv\n");
        let program = container.path("bin/opencode");
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("permissions");
        container
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[track_caller]
    fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, content).expect("a file");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("removed");
    }

    /// The files of opencode's configuration, with their contents.
    fn configuration(&self) -> BTreeMap<String, String> {
        let (mut files, root) = (BTreeMap::new(), self.path("home/.config/opencode"));
        collect(&root, &root, &mut files);
        files
    }

    /// Starts the container; returns opencode's arguments and environment, and what the script reported.
    #[track_caller]
    fn start(&self) -> (BTreeMap<String, String>, String) {
        let output = self.run();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {errors}", output.status);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let (arguments, environment) = printed.split_once('\n').expect("lines");
        assert_eq!(arguments, "arguments: serve --hostname 0.0.0.0 --port 4096", "{printed}");
        let variables = environment.lines().filter_map(|line| line.split_once('='));
        (variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), errors)
    }

    /// Runs the script to its end.
    fn run(&self) -> Output {
        let root = self.folder.path().display();
        let script = SCRIPT
            .replace("=/tmp/.", &format!("={root}/."))
            .replace("=/etc/opencode-", &format!("={root}/image/opencode-"))
            .replace("=/dev/", &format!("={root}/"))
            .replace("-k 5 120", "-k 1 2");
        assert_ne!(script, SCRIPT);
        let path = std::env::var("PATH").expect("a PATH");
        Command::new("sh")
            .args(["-c", &script, "opencode-router"])
            .args(self.prepare)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("HOME", self.path("home"))
            .envs(&self.variables)
            .output()
            .expect("sh runs")
    }

    #[track_caller]
    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a file")
    }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            collect(root, &entry.path(), files);
        } else {
            let name = entry.path().strip_prefix(root).expect("inside").display().to_string();
            files.insert(name, fs::read_to_string(entry.path()).expect("text"));
        }
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn an_image_without_defaults_starts_opencode_and_nothing_else() {
    let (variables, errors) = Container::new().start();
    assert_eq!(errors, "");
    assert!(!variables.contains_key("OPENCODE_CONFIG_CONTENT"));
    assert!(!variables.contains_key("PLAYWRIGHT_MCP_CDP_ENDPOINT"));
}

#[test]
fn the_images_configuration_is_installed_and_its_scripts_and_plugin_are_used() {
    let container = Container::new();
    container.write("image/opencode-defaults/opencode.json", "{}");
    container.write("image/opencode-defaults/agents/a b.md", "an agent");
    container.write("image/opencode-defaults/init-scripts/10.sh", "echo \"ran in $HOME\" >>\"$HOME/ran\"");
    container.write("image/opencode-defaults/init-scripts/20.sh", "exit 7");
    container.write("image/opencode-plugin/index.ts", "export default {}");
    for starts in 1..=2 {
        let (variables, errors) = container.start();
        assert_eq!(container.configuration(), map(&[("agents/a b.md", "an agent"), ("opencode.json", "{}")]));
        assert_eq!(fs::read_to_string(container.path("home/ran")).expect("ran").lines().count(), starts);
        assert!(errors.contains("20.sh failed"), "{errors}");
        let plugin = container.path("image/opencode-plugin/index.ts").display().to_string();
        assert_eq!(variables["OPENCODE_CONFIG_CONTENT"], format!("{{\"plugin\":[\"file://{plugin}\"]}}"));
    }
}

#[test]
fn the_repository_is_prepared_before_opencode_and_once_in_a_pod() {
    let mut container = Container::new();
    fs::remove_dir_all(container.path("home/repo")).expect("removed");
    container.prepare = Some("env >>\"$WORKSPACE/seen\"; echo \"$BRANCH\" >>\"$WORKSPACE/runs\"");
    let variables = [
        ("OPENCODE_ROUTER_REPO_URL", "https://git.example/a"),
        ("OPENCODE_ROUTER_BRANCH", "main"),
        ("OPENCODE_ROUTER_SOURCE_BRANCH", "dev"),
        ("OPENCODE_ROUTER_GITHUB_TOKEN", "of-the-sign-in"),
        ("GITHUB_TOKEN", "of-the-user"),
        ("OPENCODE_SERVER_PASSWORD", "p4ss"),
        ("NPM_TOKEN", "s3cret\nof two lines"),
        ("HTTPS_PROXY", "http://proxy.example"),
        ("GIT_CONFIG_COUNT", "0"),
    ];
    container.variables = map(&variables);
    for _ in 0..2 {
        let output = container.run();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
        assert_eq!(errors, "opencode-router: the repository is ready\n");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(printed.contains("\nGITHUB_TOKEN=of-the-user\n"), "{printed}");
        assert!(printed.contains(&format!("\nPWD={}\n", container.path("home/repo").display())), "{printed}");
        for name in ["OPENCODE_ROUTER_", "REPO_URL", "BESIDE", "WORKSPACE"] {
            assert!(!printed.contains(name), "{printed}");
        }
        assert_eq!(container.read("termination-log"), "", "whatever ends the container now is not git");
    }
    assert_eq!(container.read("home/repo/runs"), "main\n");
    let seen = container.read("home/repo/seen");
    for line in [
        "GITHUB_TOKEN=of-the-sign-in",
        "HOME=/tmp",
        "REPO_URL=https://git.example/a",
        "SOURCE_BRANCH=dev",
        "BESIDE=1",
        "HTTPS_PROXY=http://proxy.example",
        "GIT_CONFIG_COUNT=0",
    ] {
        assert!(seen.lines().any(|found| found == line), "{line}: {seen}");
    }
    assert!(
        ["p4ss", "s3cret", "of two lines", "of-the-user"].iter().all(|secret| !seen.contains(secret)),
        "{seen}"
    );
}

#[test]
fn a_repository_that_cannot_be_prepared_ends_the_container_and_its_status_says_so() {
    let mut container = Container::new();
    container.prepare = Some("exit 3");
    for _ in 0..2 {
        let output = container.run();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "opencode is not started");
        assert!(container.read("termination-log").starts_with("opencode-router: preparing"));
    }
    container.prepare = Some("true");
    assert!(container.run().status.success());
}

#[test]
fn a_newer_image_changes_what_the_session_did_not() {
    let container = Container::new();
    let image = |name: &str, text: &str| container.write(&format!("image/opencode-defaults/{name}"), text);
    for name in ["same", "changed", "mine", "removed", "dropped", "kept"] {
        image(name, "1");
    }
    container.start();
    container.write("home/.config/opencode/mine", "my own");
    container.write("home/.config/opencode/kept", "my own");
    container.remove("home/.config/opencode/removed");
    for name in ["changed", "mine", "removed", "new [1] $(x)"] {
        image(name, "2");
    }
    container.remove("image/opencode-defaults/dropped");
    container.remove("image/opencode-defaults/kept");
    let expected = map(&[
        ("changed", "2"),
        ("kept", "my own"),
        ("mine", "my own"),
        ("new [1] $(x)", "2"),
        ("same", "1"),
    ]);
    for _ in 0..2 {
        let (_, errors) = container.start();
        assert_eq!(errors, "");
        assert_eq!(container.configuration(), expected);
    }
}

#[test]
fn a_volume_of_the_typescript_router_keeps_its_configuration_and_gets_newer_skills() {
    let container = Container::new();
    let both = |name: &str, there: &str, image: &str| {
        container.write(&format!("home/.config/opencode/{name}"), there);
        container.write(&format!("image/opencode-defaults/{name}"), image);
    };
    both("opencode.json", "merged and edited", "{}");
    both("agents/ade.md", "old", "new");
    both(".agentskills/skills/dev-server/SKILL.md", "old", "new");
    both("skills-lock.json", "old", "new");
    container.write("image/opencode-defaults/agents/office.md", "new");
    container.start();
    let expected = map(&[
        (".agentskills/skills/dev-server/SKILL.md", "new"),
        ("agents/ade.md", "old"),
        ("agents/office.md", "new"),
        ("opencode.json", "merged and edited"),
        ("skills-lock.json", "new"),
    ]);
    assert_eq!(container.configuration(), expected);
    // From now on, what is changed here stays.
    container.write("home/.config/opencode/skills-lock.json", "mine");
    container.start();
    assert_eq!(container.configuration()["skills-lock.json"], "mine");
}

#[test]
fn a_script_that_does_not_end_does_not_stop_the_start() {
    let container = Container::new();
    container.write("image/opencode-defaults/init-scripts/10.sh", "exec sleep 600");
    let (_, errors) = container.start();
    assert!(errors.contains("took too long"), "{errors}");
}

#[test]
fn the_teams_variables_are_set_and_a_broken_file_is_reported() {
    let container = Container::new();
    container.write("home/.opencode/.env", "WORKFLOW_AGENTS=\"a b\"\nfalse\nMODEL=x\n");
    let (variables, _) = container.start();
    assert_eq!((&*variables["WORKFLOW_AGENTS"], &*variables["MODEL"]), ("a b", "x"));
    container.write("home/.opencode/.env", "A=1\nB='\n");
    let (variables, errors) = container.start();
    assert!(errors.contains("can't be parsed"), "{errors}");
    assert!(!variables.contains_key("B"));
}

#[test]
fn the_plugin_joins_a_configuration_that_is_set_already() {
    let mut container = Container::new();
    container.write("image/opencode-plugin/index.ts", "export default {}");
    let plugin = format!("file://{}", container.path("image/opencode-plugin/index.ts").display());
    let set = |container: &mut Container, text: &str| {
        container.variables = map(&[("OPENCODE_CONFIG_CONTENT", text)]);
        container.start()
    };
    let (variables, _) = set(&mut container, "{\"model\":\"$(id)\",\"plugin\":[\"x\"]}");
    let expected = format!("{{\"model\":\"$(id)\",\"plugin\":[\"x\",\"{plugin}\"]}}");
    assert_eq!(variables["OPENCODE_CONFIG_CONTENT"], expected);
    let (variables, errors) = set(&mut container, "{ // a comment\n}");
    assert_eq!(variables["OPENCODE_CONFIG_CONTENT"], "{ // a comment");
    assert!(errors.contains("plugin is not loaded"), "{errors}");
}

#[test]
fn a_users_own_browser_wins_over_the_pods() {
    let mut container = Container::new();
    let mut endpoint = |users: &str| {
        container.variables =
            map(&[("OPENCODE_BROWSER_URL", "http://localhost:9222"), ("PLAYWRIGHT_MCP_CDP_ENDPOINT", users)]);
        container.start().0["PLAYWRIGHT_MCP_CDP_ENDPOINT"].clone()
    };
    assert_eq!(endpoint(""), "http://localhost:9222");
    assert_eq!(endpoint("none"), "http://localhost:9222");
    assert_eq!(endpoint("wss://browser.example/?token=x"), "wss://browser.example/?token=x");
}

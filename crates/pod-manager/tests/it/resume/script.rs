//! The init container's script, run by the shell of this machine.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Output},
};

use super::{BRANCH, Implementation};
use crate::local::harness::{Local, environment};

const SCRIPT: &str = include_str!("../../../src/kubernetes/objects/git-init.sh");

/// A workspace for the script, and the remote `origin`.
pub(crate) struct OnScript {
    pub(crate) local: Local,
}

impl OnScript {
    pub(crate) fn new() -> Self {
        let local = Local::new();
        local.add_release();
        std::fs::create_dir(local.root().join("workspace")).expect("a folder");
        Self { local }
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.local.root().join("workspace")
    }

    /// Runs the script for a session of the remote.
    pub(crate) fn run(&self, branch: &str, source: Option<&str>) -> Output {
        let mut command = self.command();
        command.env("REPO_URL", format!("file://{}/origin.git", self.local.root().display()));
        command.env("BRANCH", branch).envs(source.map(|source| ("SOURCE_BRANCH", source)));
        command.output().expect("sh runs")
    }

    /// Runs the script for a session without a repository.
    pub(crate) fn run_empty(&self, variables: &BTreeMap<String, String>) -> Output {
        let mut command = self.command();
        if !variables.is_empty() {
            command.env_remove("GIT_CONFIG_NOSYSTEM").envs(variables);
        }
        command.output().expect("sh runs")
    }

    fn command(&self) -> Command {
        // The only difference from the container.
        let script = SCRIPT.replace("cd /workspace", "cd \"$WORKSPACE\"");
        assert_ne!(script, SCRIPT);
        let root = self.local.root();
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(&root).env_clear();
        command.envs(environment(&root.join("home"))).env("LC_ALL", "C").env("WORKSPACE", self.workspace());
        command
    }
}

/// Everything that a program printed.
pub(crate) fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

impl Implementation for OnScript {
    fn root(&self) -> PathBuf {
        self.local.root()
    }

    fn repo(&self) -> PathBuf {
        self.workspace()
    }

    async fn start(&self) {
        let output = self.run(BRANCH, None);
        assert!(output.status.success(), "{}: {}", output.status, text(&output));
    }
}

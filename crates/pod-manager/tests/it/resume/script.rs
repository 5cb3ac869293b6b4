//! The script that prepares a Pod's repository, run by the shell of this machine.

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
    /// The script may continue beside opencode.
    pub(crate) beside: bool,
}

impl OnScript {
    pub(crate) fn new() -> Self {
        let local = Local::new();
        local.add_release();
        std::fs::create_dir(local.root().join("workspace")).expect("a folder");
        Self { local, beside: false }
    }

    /// As in opencode's container.
    pub(crate) fn beside() -> Self {
        Self { beside: true, ..Self::new() }
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.local.root().join("workspace")
    }

    /// Runs the script for a session of the remote, and what it continues with beside opencode.
    pub(crate) fn run(&self, branch: &str, source: Option<&str>) -> Output {
        // A process beside it holds its output open.
        self.command_for(branch, source).output().expect("sh runs")
    }

    /// Returns a command that runs the script for a session of the remote.
    pub(crate) fn command_for(&self, branch: &str, source: Option<&str>) -> Command {
        let mut command = self.command();
        command.env("REPO_URL", format!("file://{}/origin.git", self.local.root().display()));
        command.env("BRANCH", branch).envs(source.map(|source| ("SOURCE_BRANCH", source)));
        command
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
        let root = self.local.root();
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT]).current_dir(&root).env_clear();
        command.envs(environment(&root.join("home"))).env("LC_ALL", "C").env("WORKSPACE", self.workspace());
        command.envs(self.beside.then_some(("BESIDE", "1")));
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

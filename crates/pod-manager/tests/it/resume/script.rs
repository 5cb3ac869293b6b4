//! The init container's script, run by the shell of this machine.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use super::{BRANCH, Implementation};
use crate::local::harness::{Local, environment};

const SCRIPT: &str = include_str!("../../../src/kubernetes/objects/git-init.sh");

pub(crate) struct OnScript {
    local: Local,
}

impl OnScript {
    pub(super) fn new() -> Self {
        let local = Local::new();
        local.add_release();
        std::fs::create_dir(local.root().join("workspace")).expect("a folder");
        Self { local }
    }

    pub(crate) fn run(&self) -> Output {
        // The only difference from the container.
        let script = SCRIPT.replace("cd /workspace", "cd \"$WORKSPACE\"");
        assert_ne!(script, SCRIPT);
        let root = self.local.root();
        Command::new("sh")
            .args(["-c", &script])
            .current_dir(&root)
            .env_clear()
            .envs(environment(&root.join("home")))
            .envs([("BRANCH", BRANCH), ("LC_ALL", "C")])
            .env("WORKSPACE", self.repo())
            .env("REPO_URL", format!("file://{}/origin.git", root.display()))
            .output()
            .expect("sh runs")
    }
}

impl Implementation for OnScript {
    fn root(&self) -> PathBuf {
        self.local.root()
    }

    fn repo(&self) -> PathBuf {
        self.local.root().join("workspace")
    }

    async fn start(&self) {
        let output = self.run();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {stdout}{stderr}", output.status);
    }
}

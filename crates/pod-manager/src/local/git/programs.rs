//! Keeps a repository's own configuration from making git run a program.

use super::command::Git;
use crate::local::report::RunEnd;

const HELPERS: &str = r"^credential\.(.*\.)?helper$";
const FILTERS: &str = r"^filter\..*\.(clean|smudge|process|required)$";

impl Git {
    /// Overrides the settings that name programs under names of the repository's choice: credential
    /// helpers, filters, and a proxy. Those that are set outside of the repository stay.
    pub(super) async fn disable_programs(&mut self) -> Result<(), RunEnd> {
        let (dir, repo) = (self.session_dir.clone(), self.repo());
        if self.variable("GIT_PROXY_COMMAND").is_none() {
            // git takes the first `core.gitProxy` that fits, so that no setting can override it.
            self.set("GIT_PROXY_COMMAND", "");
        }
        let helpers = self.query(&dir, &["config", "-z", "--get-regexp", HELPERS]).await?;
        // An empty value removes all helpers that are set before it.
        self.configure("credential.helper", "");
        for entry in fields(&helpers.stdout) {
            let (key, value) = entry.split_once('\n').unwrap_or((&entry, ""));
            self.configure(key, value);
        }
        let args = ["config", "-z", "--show-scope", "--name-only", "--get-regexp", FILTERS];
        let filters = fields(&self.query(&repo, &args).await?.stdout);
        for scope_and_key in filters.chunks_exact(2) {
            if let [scope, key] = scope_and_key
                && (scope == "local" || scope == "worktree")
            {
                let outside = self.query(&dir, &["config", "--get", key]).await?.line();
                self.configure(key, outside.as_deref().unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Keeps ssh from asking questions. If the user has chosen an ssh command, that one is used, whatever the
    /// repository's configuration says. (The user's configuration may turn any address into one of ssh.)
    pub(super) async fn prepare_ssh(&mut self) -> Result<(), RunEnd> {
        if self.variable("GIT_SSH_COMMAND").is_some() || self.variable("GIT_SSH").is_some() {
            return Ok(());
        }
        let dir = self.session_dir.clone();
        let chosen = self.query(&dir, &["config", "--get", "core.sshCommand"]).await?.line();
        self.set("GIT_SSH_COMMAND", chosen.as_deref().unwrap_or("ssh -o BatchMode=yes"));
        Ok(())
    }

    /// Adds a setting that wins over every configuration file.
    fn configure(&mut self, key: &str, value: &str) {
        let count = self.variable("GIT_CONFIG_COUNT").and_then(|count| count.to_str()?.parse().ok());
        let count = count.unwrap_or(0_u32);
        self.set(&format!("GIT_CONFIG_KEY_{count}"), key);
        self.set(&format!("GIT_CONFIG_VALUE_{count}"), value);
        self.set("GIT_CONFIG_COUNT", &(count + 1).to_string());
    }
}

/// Splits output of `-z`.
fn fields(output: &[u8]) -> Vec<String> {
    let fields = output.split(|byte| *byte == 0).filter(|field| !field.is_empty());
    fields.map(|field| String::from_utf8_lossy(field).into_owned()).collect()
}

use std::{process::Stdio, time::Duration};

use api::wire::State;
use tokio::{process::Command, time::timeout};

use super::Context;
use crate::{args::Browser, failure::Failure, terminal::harmless};

/// What opens an address on this system.
const SYSTEM: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
/// Some openers end at once, some stay as long as the browser: after this long it is taken for open.
const PATIENCE: Duration = Duration::from_secs(3);

impl Context {
    pub(super) async fn open(&self, name: &str, print: bool, browser: &Browser) -> Result<(), Failure> {
        let client = self.router("open")?;
        let hash = self.pick(name).await?;
        let session = client.get(hash).await?;
        let Some(url) = session.url else {
            let state = match session.state {
                State::Failed => "failed",
                State::Stopped | State::Stopping => "is stopped",
                State::Creating | State::Running => "is still starting",
            };
            let failure = Failure::new(Failure::ERROR, format!("session {hash} has no address: it {state}"));
            return Err(failure.hint(format!("Start it: {} resume {hash} --wait", self.name)));
        };
        self.terminal.print(harmless(&url, false))?;
        if print { Ok(()) } else { self.open_url(&url, browser).await }
    }

    /// Hands an address to the browser; nothing but http(s), whatever the router says.
    pub(super) async fn open_url(&self, url: &str, browser: &Browser) -> Result<(), Failure> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Failure::new(Failure::ERROR, "the session's address is not one for a browser"));
        }
        let program = browser.browser.as_deref().unwrap_or(SYSTEM);
        let failed = |why: String| {
            Failure::new(Failure::ERROR, format!("no browser could be opened: {program}: {why}"))
                .hint(format!("Open it yourself: {url}"))
        };
        let mut child = Command::new(program)
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|why| failed(why.to_string()))?;
        match timeout(PATIENCE, child.wait()).await {
            Ok(Ok(status)) if !status.success() => Err(failed(status.to_string())),
            Ok(Err(why)) => Err(failed(why.to_string())),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }
}

//! open: hands a session's address to the browser.

use std::{process::Stdio, time::Duration};

use api::wire::State;
use tokio::{process::Command, time::timeout};

use super::Context;
use crate::{args::BrowserArgs, error::CliError, terminal::sanitize_line};

/// The system's program that opens an address in the default browser.
const SYSTEM_OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
/// Some openers exit at once, others with the browser: one that still runs after this long has succeeded.
const OPENER_TIMEOUT: Duration = Duration::from_secs(3);

impl Context {
    pub(super) async fn open(&self, name: &str, print: bool, browser: &BrowserArgs) -> Result<(), CliError> {
        let client = self.router("open")?;
        let hash = self.pick(name).await?;
        let session = client.get(hash).await?;
        let Some(url) = session.url else {
            let state = match session.state {
                State::Failed => "failed",
                State::Stopped | State::Stopping => "is stopped",
                State::Creating | State::Running => "is still starting",
            };
            let error = CliError::new(CliError::ERROR, format!("session {hash} has no address: it {state}"));
            return Err(error.hint(format!("Start it: {} resume {hash} --wait", self.program)));
        };
        self.terminal.print(sanitize_line(&url))?;
        if print { Ok(()) } else { self.open_url(&url, browser).await }
    }

    /// Opens an address in the browser. Accepts only http(s), whatever the router answered.
    pub(super) async fn open_url(&self, url: &str, browser: &BrowserArgs) -> Result<(), CliError> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(CliError::new(CliError::ERROR, "the session's address is not an http(s) address"));
        }
        let opener = browser.browser.as_deref().unwrap_or(SYSTEM_OPENER);
        let open_error = |cause: String| {
            CliError::new(CliError::ERROR, format!("the browser could not be opened: {opener}: {cause}"))
                .hint(format!("Open the address yourself: {url}"))
        };
        let mut child = Command::new(opener)
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| open_error(error.to_string()))?;
        match timeout(OPENER_TIMEOUT, child.wait()).await {
            Ok(Ok(status)) if !status.success() => Err(open_error(status.to_string())),
            Ok(Err(error)) => Err(open_error(error.to_string())),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }
}

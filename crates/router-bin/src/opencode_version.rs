//! The check at startup that opencode can be run.

use std::{
    fs, io,
    io::ErrorKind,
    path::Path,
    process::{Output, Stdio},
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow};
use tokio::process::Command;

use crate::io_error;

/// How long `opencode --version` may take; a second is usual.
const VERSION_TIMEOUT: Duration = Duration::from_secs(30);

const ADVICE: &str =
    "Install it with `node scripts/install-opencode.mjs`, or set OPENCODE_BIN to the opencode program.";

/// Returns the version of opencode, which proves that it runs on this machine. The result is cached in
/// `folder` until the program changes.
///
/// # Errors
/// A sentence that says why opencode can't be run, and what to do.
pub(crate) async fn check(program: &Path, folder: &Path) -> anyhow::Result<String> {
    let cache_file = folder.join("opencode-checked");
    let fingerprint = fingerprint(program).ok();
    let cached = fs::read_to_string(&cache_file).unwrap_or_default();
    if let Some(version) =
        fingerprint.as_ref().and_then(|fingerprint| cached.strip_prefix(fingerprint.as_str()))
    {
        return Ok(version.trim().to_owned());
    }
    let version = run_version(program).await?;
    if let Some(fingerprint) = fingerprint {
        // Without the cache, the next start asks opencode again.
        let _best_effort = fs::write(cache_file, format!("{fingerprint}{version}\n"));
    }
    Ok(version)
}

/// Returns a text that changes when the program does.
fn fingerprint(program: &Path) -> io::Result<String> {
    let path = program.canonicalize()?;
    let metadata = path.metadata()?;
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    Ok(format!("{}\n{} bytes, {modified}\n", path.display(), metadata.len()))
}

/// Runs `opencode --version`.
async fn run_version(program: &Path) -> anyhow::Result<String> {
    let shown = program.display();
    let mut command = Command::new(program);
    command
        .arg("--version")
        .env("OPENCODE_DISABLE_AUTOUPDATE", "1")
        .env("OPENCODE_DISABLE_MODELS_FETCH", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = match tokio::time::timeout(VERSION_TIMEOUT, command.output()).await {
        Err(_) => {
            return Err(anyhow!(
                "opencode ({shown}) did not print its version within {} s. {ADVICE}",
                VERSION_TIMEOUT.as_secs()
            ));
        }
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => {
            return Err(anyhow!("opencode was not found ({shown}). {ADVICE}"));
        }
        Ok(Err(error)) => {
            return Err(anyhow!("opencode ({shown}) can't be run: {}. {ADVICE}", io_error::describe(&error)));
        }
        Ok(Ok(output)) => output,
    };
    parse_version(&output)
        .with_context(|| format!("opencode ({shown}) does not start on this machine. {ADVICE}"))
}

fn parse_version(output: &Output) -> anyhow::Result<String> {
    let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
    let stdout = text(&output.stdout);
    if output.status.success() && stdout.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok(stdout);
    }
    let stderr = text(&output.stderr);
    let last_line = stderr.lines().last().unwrap_or(&stdout);
    Err(anyhow!("It ended with {} and wrote: {last_line:?}", output.status))
}

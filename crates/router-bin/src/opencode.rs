//! Makes sure, at the start, that opencode can be run.

use std::{
    fs, io,
    io::ErrorKind,
    path::Path,
    process::{Output, Stdio},
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow};
use tokio::process::Command;

use crate::start::plain;

/// How long opencode may take to say its version; a second is usual.
const VERSION_TIMEOUT: Duration = Duration::from_secs(30);

/// The version of opencode, which proves that it is there and starts on this machine. A program that proved it
/// once is not asked again until it has changed: that is noted in `folder`.
///
/// # Errors
/// A sentence that says why it can't be run, and what to do.
pub(crate) async fn check(program: &Path, folder: &Path) -> anyhow::Result<String> {
    let note = folder.join("opencode-checked");
    let mark = mark(program).ok();
    let noted = fs::read_to_string(&note).unwrap_or_default();
    if let Some(version) = mark.as_ref().and_then(|mark| noted.strip_prefix(mark.as_str())) {
        return Ok(version.trim().to_owned());
    }
    let version = ask(program).await?;
    if let Some(mark) = mark {
        // Without the note it is asked again, that is all.
        let _unwritten = fs::write(note, format!("{mark}{version}\n"));
    }
    Ok(version)
}

/// Tells one program from another, and from itself once it was replaced.
fn mark(program: &Path) -> io::Result<String> {
    let real = program.canonicalize()?;
    let facts = real.metadata()?;
    let changed = facts.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    Ok(format!("{}\n{} bytes, {changed}\n", real.display(), facts.len()))
}

/// Asks opencode for its version, which proves that it is there and starts on this machine.
///
/// # Errors
/// A sentence that says why it does not.
async fn ask(program: &Path) -> anyhow::Result<String> {
    let shown = program.display();
    let advice =
        "Install it with `node scripts/install-opencode.mjs`, or set OPENCODE_BIN to opencode's program.";
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
                "opencode ({shown}) did not say its version within {} s. {advice}",
                VERSION_TIMEOUT.as_secs()
            ));
        }
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => {
            return Err(anyhow!("opencode was not found ({shown}). {advice}"));
        }
        Ok(Err(error)) => {
            return Err(anyhow!("opencode ({shown}) can't be run: {}. {advice}", plain(&error)));
        }
        Ok(Ok(output)) => output,
    };
    version(&output).with_context(|| format!("opencode ({shown}) does not start on this machine. {advice}"))
}

fn version(output: &Output) -> anyhow::Result<String> {
    let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
    let said = text(&output.stdout);
    if output.status.success() && said.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok(said);
    }
    let wrote = text(&output.stderr);
    let last = wrote.lines().last().unwrap_or(&said);
    Err(anyhow!("It ended with {} and wrote: {last:?}", output.status))
}

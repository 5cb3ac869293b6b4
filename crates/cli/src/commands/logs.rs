//! logs: prints the end of a session's log and, with `--follow`, what is added to it.

use std::{io::Write, time::Duration};

use session_key::SessionHash;

use super::Context;
use crate::{error::CliError, terminal::sanitize};

/// How often a followed log is read.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How many lines of a followed log are read each time. If more were written in between, a gap is reported.
const FOLLOW_LINES: usize = 2000;

impl Context {
    pub(super) async fn logs(&self, name: &str, lines: usize, follow: bool) -> Result<(), CliError> {
        let hash = self.pick(name).await?;
        let mut previous = self.target.logs(hash, lines).await?;
        self.print_log(&previous)?;
        if previous.is_empty() && !follow {
            self.terminal.note("The log is empty.");
        }
        if !follow {
            return Ok(());
        }
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let Some(current) = self.poll_log(hash).await? else { continue };
            let Added { text, has_gap } = added(&previous, &current);
            if has_gap {
                self.terminal.note("… lines are missing here …");
            }
            self.print_log(text)?;
            previous = current;
        }
    }

    /// Reads the log again. Returns none if the router or the API server is unavailable for the moment.
    async fn poll_log(&self, hash: SessionHash) -> Result<Option<String>, CliError> {
        match self.target.logs(hash, FOLLOW_LINES).await {
            Ok(log) => Ok(Some(log)),
            Err(error) if error.is_transient => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn print_log(&self, log: &str) -> Result<(), CliError> {
        let mut stdout = std::io::stdout().lock();
        if self.terminal.stdout_is_tty {
            stdout.write_all(sanitize(log).as_bytes())?;
        } else {
            stdout.write_all(log.as_bytes())?;
        }
        if !log.is_empty() && !log.ends_with('\n') {
            stdout.write_all(b"\n")?;
        }
        Ok(stdout.flush()?)
    }
}

/// The part of a log that was written since it was last read.
#[derive(Debug, PartialEq, Eq)]
struct Added<'a> {
    text: &'a str,
    /// Whether lines between the two readings may be missing.
    has_gap: bool,
}

/// Finds the end of the previous reading in the current one and returns what follows it. A last line that has
/// grown since is returned whole.
fn added<'a>(previous: &str, current: &'a str) -> Added<'a> {
    let old: Vec<_> = previous.lines().collect();
    let new: Vec<_> = current.lines().collect();
    let all_but_last = &old[..old.len().saturating_sub(1)];
    match overlap_end(&old, &new).or_else(|| overlap_end(all_but_last, &new)) {
        Some(end) => {
            let start = current.split_inclusive('\n').take(end).map(str::len).sum();
            Added { text: &current[start..], has_gap: false }
        }
        None => Added { text: current, has_gap: old.len() > 1 && !new.is_empty() },
    }
}

/// Returns the line of `new` up to which it repeats the end of `old`.
///
/// If lines were only added, `new` starts with all of `old`. If the first lines have left the window, the
/// last match counts.
fn overlap_end(old: &[&str], new: &[&str]) -> Option<usize> {
    if old.is_empty() {
        return None;
    }
    if new.starts_with(old) {
        return Some(old.len());
    }
    let matches = |end: &usize| {
        let common = old.len().min(*end);
        new[end - common..*end] == old[old.len() - common..]
    };
    (1..=new.len()).rev().find(matches)
}

#[cfg(test)]
mod tests {
    use super::{Added, added};

    fn check(previous: &str, current: &str, text: &str, has_gap: bool) {
        assert_eq!(added(previous, current), Added { text, has_gap }, "{previous:?} then {current:?}");
    }

    #[test]
    fn only_added_lines_are_printed() {
        check("", "", "", false);
        check("", "a\n", "a\n", false);
        check("a\nb\n", "a\nb\n", "", false);
        check("a\nb\n", "a\nb\nc\n", "c\n", false);
        check("a\nb", "a\nb\nc", "c", false);
        check("a\na\n", "a\na\na\n", "a\n", false);
    }

    #[test]
    fn lines_that_left_the_window_are_not_printed_again() {
        check("a\nb\n", "b\nc\nd\n", "c\nd\n", false);
        check("a\nb\nc\n", "b\nc\nd\n", "d\n", false);
        // The first reading may have fewer lines than the later ones.
        check("b\n", "a\nb\nc\n", "c\n", false);
    }

    #[test]
    fn a_line_that_has_grown_is_printed_whole() {
        check("a\nhal", "a\nhalf\n", "half\n", false);
        check("hal", "half\n", "half\n", false);
    }

    #[test]
    fn a_gap_is_reported() {
        check("a\nb\n", "x\ny\n", "x\ny\n", true);
    }
}

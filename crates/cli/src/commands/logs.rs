use std::{io::Write, time::Duration};

use session_key::SessionHash;

use super::Context;
use crate::{failure::Failure, terminal::harmless};

/// Between two looks at a log that is followed.
const PAUSE: Duration = Duration::from_secs(1);
/// Lines looked at each time: what is written faster than this many a pause is told as a gap.
const WINDOW: usize = 2000;

impl Context {
    pub(super) async fn logs(&self, name: &str, lines: usize, follow: bool) -> Result<(), Failure> {
        let hash = self.pick(name).await?;
        let mut seen = self.reach.logs(hash, lines).await?;
        self.print_log(&seen)?;
        if seen.is_empty() && !follow {
            self.terminal.say("Nothing was written yet.");
        }
        if !follow {
            return Ok(());
        }
        loop {
            tokio::time::sleep(PAUSE).await;
            let Some(now) = self.look_again(hash).await? else { continue };
            let Tail { new, gap } = tail(&seen, &now);
            if gap {
                self.terminal.say("… lines are missing here …");
            }
            self.print_log(new)?;
            seen = now;
        }
    }

    /// The log as it is; nothing where the router or the API server is away for a moment.
    async fn look_again(&self, hash: SessionHash) -> Result<Option<String>, Failure> {
        match self.reach.logs(hash, WINDOW).await {
            Ok(now) => Ok(Some(now)),
            Err(why) if why.is_passing => Ok(None),
            Err(why) => Err(why),
        }
    }

    fn print_log(&self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        if self.terminal.tty {
            out.write_all(harmless(text, true).as_bytes())?;
        } else {
            out.write_all(text.as_bytes())?;
        }
        if !text.is_empty() && !text.ends_with('\n') {
            out.write_all(b"\n")?;
        }
        Ok(out.flush()?)
    }
}

/// What a log holds that was not seen.
#[derive(Debug, PartialEq, Eq)]
struct Tail<'a> {
    new: &'a str,
    /// Something in between may never have been seen.
    gap: bool,
}

/// Finds the end of what was seen in what is there now. A last line that has grown since is printed anew.
fn tail<'a>(seen: &str, now: &'a str) -> Tail<'a> {
    let old: Vec<_> = seen.lines().collect();
    let new: Vec<_> = now.lines().collect();
    let all_but_last = &old[..old.len().saturating_sub(1)];
    match end_of(&old, &new).or_else(|| end_of(all_but_last, &new)) {
        Some(end) => {
            let start = now.split_inclusive('\n').take(end).map(str::len).sum();
            Tail { new: &now[start..], gap: false }
        }
        None => Tail { new: now, gap: old.len() > 1 && !new.is_empty() },
    }
}

/// Up to where `new` holds what `old` ends in. A log that was only written to begins as before; of one whose
/// beginning is out of sight by now, the last place that fits counts.
fn end_of(old: &[&str], new: &[&str]) -> Option<usize> {
    if old.is_empty() {
        return None;
    }
    if new.starts_with(old) {
        return Some(old.len());
    }
    let fits = |end: &usize| {
        let common = old.len().min(*end);
        new[end - common..*end] == old[old.len() - common..]
    };
    (1..=new.len()).rev().find(fits)
}

#[cfg(test)]
mod tests {
    use super::{Tail, tail};

    fn check(seen: &str, now: &str, new: &str, gap: bool) {
        assert_eq!(tail(seen, now), Tail { new, gap }, "{seen:?} then {now:?}");
    }

    #[test]
    fn only_what_was_not_seen_is_printed() {
        check("", "", "", false);
        check("", "a\n", "a\n", false);
        check("a\nb\n", "a\nb\n", "", false);
        check("a\nb\n", "a\nb\nc\n", "c\n", false);
        check("a\nb", "a\nb\nc", "c", false);
        check("a\na\n", "a\na\na\n", "a\n", false);
    }

    #[test]
    fn lines_that_moved_out_of_sight_are_not_printed_again() {
        check("a\nb\n", "b\nc\nd\n", "c\nd\n", false);
        check("a\nb\nc\n", "b\nc\nd\n", "d\n", false);
        // At first fewer lines were asked for than now.
        check("b\n", "a\nb\nc\n", "c\n", false);
    }

    #[test]
    fn a_line_that_has_grown_is_printed_whole() {
        check("a\nhal", "a\nhalf\n", "half\n", false);
        check("hal", "half\n", "half\n", false);
    }

    #[test]
    fn a_gap_is_told() {
        check("a\nb\n", "x\ny\n", "x\ny\n", true);
    }
}

//! The progress that git prints while it clones.

use std::sync::Arc;

/// How far a stage is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) message: Arc<str>,
    pub(crate) percent: Option<u8>,
    pub(crate) bytes: Option<u64>,
}

/// git's progress lines in the order in which they come: git's title, our message, and the part of the whole
/// (from and to, in percent).
const PARTS: &[(&str, &str, u8, u8)] = &[
    ("remote: Enumerating objects", "The remote is counting objects", 0, 0),
    ("remote: Counting objects", "The remote is counting objects", 0, 0),
    ("remote: Compressing objects", "The remote is compressing objects", 0, 0),
    ("Receiving objects", "Receiving the repository", 0, 85),
    ("Resolving deltas", "Unpacking the repository", 85, 95),
    ("Updating files", "Writing the files", 95, 100),
    ("Checking out files", "Writing the files", 95, 100),
];

/// Parses a line of `git --progress`, such as
/// `Receiving objects:  45% (450/1000), 1.20 MiB | 1.10 MiB/s`; returns `None` for every other line.
pub(crate) fn parse(line: &str) -> Option<Progress> {
    let (title, rest) = line.split_once(':').and_then(|(head, rest)| match head {
        "remote" => rest.split_once(':').map(|(tail, rest)| (format!("remote:{tail}"), rest)),
        _ => Some((head.to_owned(), rest)),
    })?;
    let (_, message, from, to) = PARTS.iter().find(|(known, ..)| *known == title)?;
    let rest = rest.trim();
    let percent = rest.split_once('%').and_then(|(percent, _)| percent.trim().parse::<u8>().ok());
    let of_whole = percent.map(|percent| {
        let share = u16::from(to - from) * u16::from(percent.min(100)) / 100;
        from + u8::try_from(share).unwrap_or(0)
    });
    Some(Progress {
        message: (*message).into(),
        percent: of_whole.filter(|_| to > from),
        bytes: if title == "Receiving objects" { received_bytes(rest) } else { None },
    })
}

/// Returns the amount in `45% (450/1000), 1.20 MiB | 1.10 MiB/s`.
fn received_bytes(rest: &str) -> Option<u64> {
    let (_, amount) = rest.split_once("), ")?;
    let mut words = amount.split([' ', ',', '|']).filter(|word| !word.is_empty());
    let number: f64 = words.next()?.parse().ok()?;
    let unit = match words.next()? {
        "bytes" | "byte" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some((number * unit).max(0.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_lines_of_a_clone_are_parsed() {
        #[track_caller]
        fn check(line: &str, expected: Option<(&str, Option<u8>, Option<u64>)>) {
            let progress = parse(line);
            let parts = progress.as_ref().map(|parsed| (&*parsed.message, parsed.percent, parsed.bytes));
            assert_eq!(parts, expected, "{line}");
        }
        check("Cloning into 'repo.partial'...", None);
        check("fatal: repository 'x' not found", None);
        check("remote: Repository not found.", None);
        check("remote: Enumerating objects: 12, done.", Some(("The remote is counting objects", None, None)));
        check(
            "remote: Compressing objects:  50% (5/10)",
            Some(("The remote is compressing objects", None, None)),
        );
        check("Receiving objects:   0% (0/10)", Some(("Receiving the repository", Some(0), None)));
        check(
            "Receiving objects:  50% (5/10), 1.50 KiB | 700.00 KiB/s",
            Some(("Receiving the repository", Some(42), Some(1536))),
        );
        check(
            "Receiving objects: 100% (9/9), 612 bytes | 612.00 KiB/s, done.",
            Some(("Receiving the repository", Some(85), Some(612))),
        );
        check(
            "Receiving objects:  99% (9/9), 2.00 GiB | 1.00 MiB/s",
            Some(("Receiving the repository", Some(84), Some(2 << 30))),
        );
        check("Resolving deltas: 100% (3/3), done.", Some(("Unpacking the repository", Some(95), None)));
        check("Updating files: 100% (3/3)", Some(("Writing the files", Some(100), None)));
        check("Receiving objects: 900% (x", Some(("Receiving the repository", None, None)));
        check("", None);
        check(":::", None);
    }
}

//! Tests of the bounded reads of logs.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{
    AsyncRead,
    io::{BufReader, Cursor},
};

use super::*;

/// Repeats some text forever; panics once more was read than a bounded reader may read.
struct EndlessLog {
    text: Vec<u8>,
    read: usize,
}

impl EndlessLog {
    fn of(text: &[u8]) -> BufReader<Self> {
        BufReader::new(Self { text: text.repeat(100), read: 0 })
    }
}

impl AsyncRead for EndlessLog {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let count = buffer.len().min(self.text.len());
        buffer[..count].copy_from_slice(&self.text[..count]);
        self.read += count;
        assert!(self.read < 8 << 20, "the log is read without a limit");
        Poll::Ready(Ok(count))
    }
}

fn log(parts: &[&[u8]]) -> Cursor<Vec<u8>> {
    Cursor::new(parts.concat())
}

async fn percentages(log: impl AsyncBufRead + Unpin) -> Vec<Option<u8>> {
    let mut percentages = Vec::new();
    let mut report = |said| {
        if let CloneLog::Progress(progress) = said {
            percentages.push(progress.percent);
        }
    };
    report_progress(log, &mut report).await.unwrap();
    percentages
}

/// Returns what a failure would hold of this log.
async fn clean(text: &str) -> String {
    end_of(&last_of(log(&[text.as_bytes()]), 100).await.unwrap())
}

#[tokio::test]
async fn a_line_of_5_mb_is_cut_and_dropped() {
    let long = vec![b'x'; 5_000_000];
    let mut lines = BoundedLines::new(log(&[b"one\n", &long, b"\ntwo"]), 6_000_000);
    let mut sizes = Vec::new();
    while let Some(line) = lines.next().await.unwrap() {
        sizes.push(line.len());
    }
    assert_eq!(sizes, [3, MAX_LINE_BYTES, 3]);
}

#[tokio::test]
async fn the_progress_of_a_clone_is_read_up_to_a_limit() {
    assert_eq!(percentages(EndlessLog::of(b"x")).await, []);
    assert_eq!(percentages(EndlessLog::of(b"y\n")).await, []);
    let lines = log(&[b"Receiving objects:  50% (1/2)\n", &vec![b'x'; 5_000_000]]);
    assert_eq!(percentages(lines).await, [Some(42)]);
}

#[tokio::test]
async fn a_clone_before_opencode_begins_and_ends_with_a_line_of_ours() {
    let lines = log(&[
        b"opencode-router: cloning\nReceiving objects:  50% (1/2)\nopencode-router: the repository is ready\n",
        b"Receiving objects: 100% (2/2)\n",
    ]);
    let mut said = Vec::new();
    report_progress(lines, |what| said.push(what)).await.unwrap();
    assert!(matches!(&said[..], [CloneLog::Started, CloneLog::Progress(_), CloneLog::Ended]), "{said:?}");
}

#[tokio::test]
async fn the_end_of_a_log_is_read_up_to_a_limit() {
    assert_eq!(last_of(EndlessLog::of(b"x"), 30).await.unwrap().len(), MAX_LINE_BYTES);
    let end = last_of(EndlessLog::of(b"y\n"), 30).await.unwrap();
    assert_eq!(end.lines().count(), 30);
    let wide = [&[b'z'; MAX_LINE_BYTES][..], b"\n"].concat();
    let end = last_of(EndlessLog::of(&wide), usize::MAX).await.unwrap();
    assert!(end.len() <= MAX_TAIL_KEPT + 1000, "{}", end.len());
}

#[tokio::test]
async fn bytes_that_are_not_utf_8_do_not_end_a_log() {
    let lines = log(&[b"\xff\xfe\n", b"Receiving objects:  50% (1/2)\n"]);
    assert_eq!(percentages(lines).await, [Some(42)]);
    assert_eq!(last_of(log(&[b"\xff\n", b"fatal: x\n"]), 2).await.unwrap(), "\u{fffd}\nfatal: x");
}

#[tokio::test]
async fn a_carriage_return_ends_a_line_of_progress() {
    let lines = log(&[b"Receiving objects:  50% (1/2)\rResolving deltas:  50% (1/2)\n"]);
    assert_eq!(percentages(lines).await, [Some(42), Some(90)]);
}

#[tokio::test]
async fn the_cause_of_a_failed_clone_is_in_the_init_containers_log() {
    #[track_caller]
    fn check(log: &str, expected: FailureCode) {
        let mut failure = Failure {
            code: FailureCode::CloneFailed,
            message: "Cloning failed (git exited with 128).".into(),
            advice: "try".into(),
            log_tail: None,
        };
        explain(&mut failure, log);
        assert_eq!(failure.code, expected, "{log}");
        assert!(failure.message.ends_with('.') && failure.advice.ends_with('.') || failure.advice == "try");
    }
    check(
        &clean("Cloning into 'x'...\nfatal: repository 'https://x/y/' not found").await,
        FailureCode::RepositoryNotFound,
    );
    check(&clean("opencode-router: branch_not_found").await, FailureCode::BranchNotFound);
    check(
        &clean("fatal: unable to access 'https://x/': Could not resolve host: x").await,
        FailureCode::NetworkUnreachable,
    );
    check(&clean("error: file write error: No space left on device").await, FailureCode::DiskFull);
    check(&clean("fatal: index file corrupt").await, FailureCode::CloneFailed);
}

#[test]
fn a_failure_has_the_log_of_the_attempt_that_failed() {
    let check = |before: &str, now: &str, expected: &str| {
        assert_eq!(of_the_failure([before.to_owned(), now.to_owned()]), expected);
    };
    check("Cloning\nfatal: not found", "Cloning", "Cloning\nfatal: not found");
    check("", "Cloning\nfatal: not found", "Cloning\nfatal: not found");
    check("unable to retrieve container logs for containerd://1", "fatal: x", "fatal: x");
    check("Cloning", "Cloning\nfatal: not found", "Cloning\nfatal: not found");
    check("Cloning", "Resolving", "Cloning");
    check("", "", "");
}

#[tokio::test]
async fn the_log_of_a_failure_is_bounded_and_holds_no_credentials() {
    assert_eq!(clean("fatal: 'https://me:secret@h/r'\u{1b}[0m\n").await, "fatal: 'https://***@h/r'");
    assert_eq!(
        clean("Receiving objects:  50% (1/2)\rReceiving objects: 100% (2/2)\rfatal: x").await,
        "fatal: x"
    );
    assert!(clean(&"ü".repeat(FAILURE_BYTES)).await.len() <= FAILURE_BYTES);
}

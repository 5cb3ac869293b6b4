//! A session's log: the output of its processes, in files of bounded size.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::files::make_dir;
use crate::git_output::strip_control;

/// How many older files are kept beside the current one.
const OLDER: usize = 2;
/// The largest part of the files that is read to find the last lines.
const TAIL_BYTES: u64 = 512 << 10;

/// The log of one session, open for writing.
#[derive(Clone)]
pub(super) struct Log(Arc<LogFile>);

struct LogFile {
    dir: PathBuf,
    max: u64,
    file: Mutex<Option<(File, u64)>>,
}

impl Log {
    /// Opens the log of the session whose folder is `dir`.
    pub(super) fn open(dir: &Path, max: u64) -> io::Result<Self> {
        let dir = log_dir(dir);
        make_dir(&dir)?;
        let file = open(&dir)?;
        let size = file.metadata()?.len();
        Ok(Self(Arc::new(LogFile { dir, max, file: Mutex::new(Some((file, size))) })))
    }

    /// Writes one line.
    pub(super) fn line(&self, line: &str) {
        self.write(format!("{line}\n").as_bytes());
    }

    /// Appends output as it is. Output that can't be written is dropped: a full disk must not end a session.
    pub(super) fn write(&self, bytes: &[u8]) {
        let mut current = self.0.file.lock();
        if current.as_ref().is_some_and(|(_, size)| *size > 0 && size + bytes.len() as u64 > self.0.max) {
            *current = rotate(&self.0.dir).ok().map(|file| (file, 0));
        }
        if let Some((file, size)) = &mut *current
            && file.write_all(bytes).is_ok()
        {
            *size += bytes.len() as u64;
        }
    }

    /// Copies a process's output until it ends.
    pub(super) async fn copy(self, mut output: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = output.read(&mut buffer).await {
            self.write(&buffer[..count]);
        }
    }
}

/// Returns the last lines of the log of the session whose folder is `dir`, without control sequences. A
/// missing log is empty.
pub(super) fn tail(dir: &Path, lines: usize) -> io::Result<String> {
    let dir = log_dir(dir);
    let mut bytes = read_end(&path(&dir, 0), TAIL_BYTES)?;
    for age in 1..=OLDER {
        let missing = TAIL_BYTES.saturating_sub(bytes.len() as u64);
        if missing == 0 || bytes.iter().filter(|byte| **byte == b'\n').count() > lines {
            break;
        }
        let mut older = read_end(&path(&dir, age), missing)?;
        older.append(&mut bytes);
        bytes = older;
    }
    let text = strip_control(&String::from_utf8_lossy(&bytes));
    let all: Vec<_> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..].join("\n"))
}

fn log_dir(dir: &Path) -> PathBuf {
    dir.join("log")
}

fn path(dir: &Path, age: usize) -> PathBuf {
    match age {
        0 => dir.join("opencode.log"),
        _ => dir.join(format!("opencode.{age}.log")),
    }
}

fn open(dir: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path(dir, 0))
}

fn rotate(dir: &Path) -> io::Result<File> {
    for age in (0..OLDER).rev() {
        match fs::rename(path(dir, age), path(dir, age + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    open(dir)
}

fn read_end(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(max)))?;
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_stays_within_its_bound_and_returns_its_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(tail(dir.path(), 10).unwrap(), "");
        let log = Log::open(dir.path(), 1000).unwrap();
        for number in 0..1000 {
            log.line(&format!("line {number}"));
        }
        let sizes: Vec<_> = fs::read_dir(log_dir(dir.path()))
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(sizes.len(), 3, "{sizes:?}");
        assert!(sizes.iter().all(|size| *size <= 1000), "{sizes:?}");
        assert_eq!(tail(dir.path(), 2).unwrap(), "line 998\nline 999");
        assert_eq!(tail(dir.path(), 0).unwrap(), "");
        let many = tail(dir.path(), 200).unwrap();
        assert_eq!(many.lines().next(), Some("line 800"), "older files are read too");
        assert_eq!(many.lines().count(), 200);
    }

    #[test]
    fn a_log_continues_in_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        for run in 1..=2 {
            Log::open(dir.path(), 1000).unwrap().line(&format!("run {run}"));
        }
        assert_eq!(tail(dir.path(), 10).unwrap(), "run 1\nrun 2");
    }
}

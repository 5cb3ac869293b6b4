//! The example `embed` works, and the README shows it.

use std::{
    io::{BufRead, BufReader, Lines},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
};

use crate::test_proxy::*;

const EXAMPLE: &str = include_str!("../../examples/embed.rs");

#[test]
fn the_readme_shows_the_example() {
    let code = EXAMPLE.split_once("use std::").unwrap().1;
    assert!(include_str!("../../README.md").contains(code), "README.md and examples/embed.rs differ");
    let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= 40, "the example has {lines} lines");
}

/// A running example, which is killed when dropped.
pub(crate) struct Example {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub(crate) address: SocketAddr,
}

impl Example {
    /// Starts the example `embed` for a session at `upstream`, with at most `files` open files.
    fn start(upstream: SocketAddr, files: u32) -> Self {
        Self::run("embed", &[&upstream.to_string()], files)
    }

    /// Starts an example that listens on the address in its first argument.
    pub(crate) fn run(name: &str, arguments: &[&str], files: u32) -> Self {
        // cargo builds the examples into a folder next to this test's.
        let program = std::env::current_exe().unwrap().with_file_name("../examples").join(name);
        let mut child = Command::new("sh")
            .args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")])
            .arg(program)
            .arg("127.0.0.1:0")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("`cargo test` builds the examples");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        let address = line.strip_prefix("listening on ").unwrap().parse().unwrap();
        Self { child, lines, address }
    }

    async fn get(&self) -> String {
        let request = http::Request::get("/")
            .header("host", "a48da0606867.localhost:8000")
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        text(send_to(self.address, request).await).await
    }

    /// Returns the next line that the example prints.
    pub(crate) fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// Returns how many files the example has open, if the system shows it.
    fn open_files(&self) -> Option<usize> {
        Some(std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).ok()?.count())
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_example_serves_a_session() {
    let mut example = Example::start(raw_session(OK).await.0, 256);
    assert_eq!(example.get().await, "ok");
    assert_eq!(example.line(), "a48da0606867: Request");
}

#[tokio::test]
async fn the_example_recovers_when_it_runs_out_of_file_descriptors() {
    let example = Example::start(raw_session(OK).await.0, 24);
    let mut connections = Vec::new();
    for _ in 0..40 {
        connections.push(tokio::net::TcpStream::connect(example.address).await.unwrap());
    }
    within("the last file descriptor's use", async {
        while example.open_files().is_some_and(|open| open < 24) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(connections);
    assert_eq!(example.get().await, "ok");
}

//! The example is what the README shows, and it works.

use std::{
    io::{BufRead, BufReader, Lines},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
};

use crate::world::*;

const EXAMPLE: &str = include_str!("../../examples/embed.rs");

#[test]
fn the_readme_shows_the_example() {
    let code = EXAMPLE.split_once("use std::").unwrap().1;
    assert!(include_str!("../../README.md").contains(code), "README.md and examples/embed.rs differ");
    let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= 40, "the example has grown to {lines} lines");
}

/// The example, before this server; whoever drops it ends it.
struct Example {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

impl Example {
    /// Starts it, with no more than this many open files.
    fn before(upstream: SocketAddr, files: u32) -> Self {
        // cargo builds the examples beside this test's own folder.
        let program = std::env::current_exe().unwrap().with_file_name("../examples/embed");
        let mut child = Command::new("sh")
            .args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")])
            .arg(program)
            .args(["127.0.0.1:0", &upstream.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("`cargo test` builds the examples");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        let address = line.strip_prefix("listening on ").unwrap().parse().unwrap();
        Self { child, lines, address }
    }

    async fn ask(&self) -> String {
        let request = http::Request::get("/")
            .header("host", "a48da0606867.localhost:8000")
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        text(send_to(self.address, request).await).await
    }

    /// How many files it has open; `None` where the system does not say.
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

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn the_example_serves_a_session() {
    let (upstream, _heads) = raw_upstream(OK).await;
    let mut example = Example::before(upstream, 256);
    assert_eq!(example.ask().await, "ok");
    assert_eq!(example.lines.next().unwrap().unwrap(), "a48da0606867: Request");
}

#[tokio::test]
async fn out_of_open_files_it_waits_and_then_goes_on() {
    let (upstream, _heads) = raw_upstream(OK).await;
    let example = Example::before(upstream, 24);
    let mut guests = Vec::new();
    for _ in 0..40 {
        guests.push(tokio::net::TcpStream::connect(example.address).await.unwrap());
    }
    within("the last file's use", async {
        while example.open_files().is_some_and(|open| open < 24) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(guests);
    assert_eq!(example.ask().await, "ok");
}

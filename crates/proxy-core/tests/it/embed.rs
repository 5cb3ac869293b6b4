//! The example is what the README shows, and it works.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use crate::world::*;

const EXAMPLE: &str = include_str!("../../examples/embed.rs");

#[test]
fn the_readme_shows_the_example() {
    let code = EXAMPLE.split_once("use std::").unwrap().1;
    assert!(include_str!("../../README.md").contains(code), "README.md and examples/embed.rs differ");
    let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= 50, "the example has grown to {lines} lines");
}

#[tokio::test]
async fn the_example_serves_a_session() {
    let (upstream, _heads) = raw_upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    // cargo builds the examples beside this test's own folder.
    let example = std::env::current_exe().unwrap().with_file_name("../examples/embed");
    let mut child = Command::new(example)
        .args(["127.0.0.1:0", &upstream.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("`cargo test` builds the examples");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    let address = line.strip_prefix("listening on ").unwrap().parse().unwrap();
    let request = http::Request::get("/")
        .header("host", "a48da0606867.localhost:8000")
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .unwrap();
    let answer = text(send_to(address, request).await).await;
    let told = lines.next().unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(answer, "ok");
    assert_eq!(told, "a48da0606867: Request");
}

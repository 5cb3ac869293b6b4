//! The agent as a program, with servers of this test.
#![cfg(target_os = "linux")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use opencode_session_agent::listeners;

const TOKEN: &str = "t0ken";

struct Agent {
    process: Child,
    address: SocketAddr,
}

impl Agent {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_opencode-session-agent"))
            .arg("0")
            .env("OPENCODE_SESSION_AGENT_TOKEN", TOKEN)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
        Self { process, address: ([127, 0, 0, 1], port).into() }
    }

    /// Sends a head, and returns the connection and the first line of the answer.
    fn send(&self, first: &str, token: &str) -> (BufReader<TcpStream>, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(stream, "{first} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Bearer {token}\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut status = String::new();
        reader.read_line(&mut status).unwrap();
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
        (reader, status.trim().to_owned())
    }

    fn status(&self, first: &str, token: &str) -> String {
        self.send(first, token).1
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A server that sends back all that it receives.
fn echo(address: &str) -> Option<u16> {
    let listener = TcpListener::bind(address).ok()?;
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            stream.write_all(&received).unwrap();
        }
    });
    Some(port)
}

#[test]
fn a_server_on_either_loopback_address_is_reached() {
    let agent = Agent::start();
    for port in ["127.0.0.1:0", "[::1]:0"].into_iter().filter_map(echo) {
        let (mut tunnel, status) = agent.send(&format!("CONNECT localhost:{port}"), TOKEN);
        assert_eq!(status, "HTTP/1.1 200 OK");
        let sent = vec![7; 1_000_000];
        tunnel.get_mut().write_all(&sent).unwrap();
        // The end of one direction is passed on, and the other one stays open.
        tunnel.get_mut().shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        tunnel.read_to_end(&mut received).unwrap();
        assert!(received == sent);
    }
}

#[test]
fn who_has_no_token_gets_nothing() {
    let agent = Agent::start();
    let port = echo("127.0.0.1:0").unwrap();
    for token in ["", "t0ke", "t0ken2", "T0ken"] {
        assert_eq!(agent.status(&format!("CONNECT localhost:{port}"), token), "HTTP/1.1 401 Unauthorized");
        assert_eq!(agent.status("GET /ports", token), "HTTP/1.1 401 Unauthorized");
    }
}

#[test]
fn ports_that_are_no_dev_servers_are_refused() {
    let agent = Agent::start();
    for port in [22, 4094, 4096, 9222] {
        assert_eq!(agent.status(&format!("CONNECT localhost:{port}"), TOKEN), "HTTP/1.1 403 Forbidden");
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_eq!(agent.status(&format!("CONNECT localhost:{closed}"), TOKEN), "HTTP/1.1 502 Bad Gateway");
    assert_eq!(agent.status("CONNECT 192.0.2.1:5173", TOKEN), "HTTP/1.1 404 Not Found");
    assert_eq!(agent.status("GET / HTTP/1.1 x", TOKEN), "HTTP/1.1 400 Bad Request");
}

#[test]
fn a_port_is_reported_while_it_listens() {
    // The agent reports the first 64 ports.
    if listeners().len() > 50 {
        return;
    }
    let agent = Agent::start();
    let (mut lines, status) = agent.send("GET /ports", TOKEN);
    assert_eq!(status, "HTTP/1.1 200 OK");
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let entry = format!("{{\"port\":{},", server.local_addr().unwrap().port());
    let mut wait_for = |is_listed: bool| {
        let mut line = String::new();
        while line.trim().is_empty() || line.contains(&entry) != is_listed {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the stream ended");
        }
    };
    wait_for(true);
    drop(server);
    wait_for(false);
}

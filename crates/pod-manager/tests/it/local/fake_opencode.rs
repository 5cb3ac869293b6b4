//! A fake opencode process: it listens on the given address, requires the password, and fails in chosen ways.
//! It is this test binary, started by a shell script called `opencode`.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use base64::Engine;

use super::harness::script;

/// The variable that chooses its behavior.
pub(crate) const BEHAVIOR: &str = "FAKE_OPENCODE";
const ARGS: &str = "FAKE_OPENCODE_ARGS";

/// Writes the program into a folder, as `opencode`.
pub(crate) fn install(dir: &Path) {
    let this = std::env::current_exe().expect("this program has a path");
    let lines = format!(
        "if [ \"${BEHAVIOR}\" = deaf ]; then trap '' TERM; fi\n\
         {ARGS}=\"$*\" exec '{}' --exact local::fake_opencode::program --ignored --nocapture",
        this.display()
    );
    script(&dir.join("opencode"), &lines);
}

#[expect(clippy::disallowed_methods, reason = "variables configure this program")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[test]
#[ignore = "a program that other tests start"]
fn program() {
    let Some(args) = variable(ARGS) else { return };
    let behavior = variable(BEHAVIOR).unwrap_or_default();
    println!("fake called as: {args}");
    let port = args.split_once("--port ").expect("a port").1.trim();
    assert!(args.starts_with("serve --hostname 127.0.0.1 "), "{args}");
    let data = PathBuf::from(variable("XDG_DATA_HOME").expect("data has a place"));
    let starts = data.join("starts");
    let count = std::fs::read_to_string(&starts).map_or(0, |text| text.parse().unwrap_or(0)) + 1;
    std::fs::write(&starts, count.to_string()).expect("the start is counted");
    match behavior.as_str() {
        "crash" => {
            println!("\u{1b}[91mError: it is broken\u{1b}[0m");
            std::process::exit(3);
        }
        "full" => {
            println!("SQLiteError: database or disk is full");
            std::process::exit(1);
        }
        "killed" => kill_myself(),
        "crash-once" if count == 1 => std::process::exit(4),
        "spew" => {
            for line in 0..200_000 {
                println!("line {line} of too many");
            }
        }
        "family" => {
            // A child in the same group, and one in a group of its own that ignores signals.
            let mut shell = Command::new("/bin/sh");
            leave(shell.args(["-c", "sleep 1000 & exec sleep 1000"]));
            let mut shell = Command::new("/bin/sh");
            leave(shell.args(["-c", "trap '' TERM HUP; sleep 1000; sleep 1000"]).process_group(0));
        }
        // A dev server, in the folder in which opencode's terminal starts one.
        "dev-server" => std::mem::forget(TcpListener::bind("127.0.0.1:0").expect("a port")),
        _ => {}
    }
    let listener = TcpListener::bind(("127.0.0.1", port.parse().expect("a port"))).expect("the port is free");
    println!("fake listening on http://127.0.0.1:{port}");
    for stream in listener.incoming().flatten() {
        let behavior = behavior.clone();
        std::thread::spawn(move || answer(stream, &behavior));
    }
}

/// Leaves a child running.
fn leave(command: &mut Command) {
    let mut child = command.spawn().expect("a child");
    std::thread::spawn(move || child.wait());
}

fn kill_myself() {
    let _ = Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
}

fn answer(mut stream: TcpStream, behavior: &str) {
    if behavior == "mute" {
        std::thread::sleep(Duration::from_secs(1000));
    }
    let password = variable("OPENCODE_SERVER_PASSWORD").expect("a password");
    let expected = base64::engine::general_purpose::STANDARD.encode(format!("opencode:{password}"));
    let (mut first, mut authorized) = (String::new(), behavior == "open");
    for line in BufReader::new(&stream).lines().map_while(Result::ok) {
        if line.is_empty() {
            break;
        }
        authorized |= line.to_lowercase().starts_with("authorization:") && line.ends_with(&expected);
        if first.is_empty() {
            first = line;
        }
    }
    let (status, body) = match (authorized, first.split(' ').nth(1).unwrap_or_default()) {
        (false, _) => ("401 Unauthorized", String::new()),
        (true, "/global/health") => ("200 OK", r#"{"healthy":true,"version":"0"}"#.to_owned()),
        (true, "/crash") => std::process::exit(5),
        (true, "/kill") => {
            kill_myself();
            return;
        }
        (true, "/environment") => {
            let lines: Vec<_> =
                environment().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
            ("200 OK", lines.join("\n"))
        }
        (true, "/folder") => ("200 OK", std::env::current_dir().expect("a folder").display().to_string()),
        (true, _) => ("200 OK", "<html>any page</html>".to_owned()),
    };
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
}

#[expect(clippy::disallowed_methods, reason = "a test checks the program's environment")]
fn environment() -> Vec<(String, String)> {
    std::env::vars().collect()
}

//! Runs the program as people and scripts do, against a router on a loopback socket.

mod all_users;
mod attach;
mod delete;
mod errors;
mod kubernetes;
mod secrets;
mod sessions;

use std::{future::Future, process::Stdio, time::Duration};

use api::{testing::TestRouter, testing::USER, wire::State};
use session_key::SessionHash;
use tokio::process::Command;

const ALICE: &str = "alice@example.com";
const REPO: &str = "https://github.com/acme/widgets";

/// Awaits a future that completes soon; fails the test after 30 s.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("no result within 30 s")
}

async fn start_router() -> TestRouter {
    soon(TestRouter::start()).await.expect("a router")
}

/// The outcome of a run.
#[derive(Debug)]
struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Run {
    /// Asserts success and returns standard output without its last line end.
    #[track_caller]
    fn success(&self) -> &str {
        assert_eq!(self.code, 0, "{self:?}");
        self.out.trim_end()
    }

    /// Asserts the exit code, an empty standard output and an explanation with `part` on standard error.
    #[track_caller]
    fn failure(&self, code: i32, part: &str) {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{self:?}");
        assert!(self.err.contains(part), "{part:?} is not in {}", self.err);
    }
}

/// Returns the program without this machine's environment.
fn program(address: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_opencode-routerctl"));
    command
        .env_clear()
        .env("OPENCODE_ROUTER_URL", address)
        .env("OPENCODE_ROUTER_HEADERS", format!("{USER}: {ALICE}"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn output(mut command: Command) -> Run {
    let output = soon(command.output()).await.expect("the program runs");
    Run {
        code: output.status.code().expect("an exit code"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

async fn run(router: &TestRouter, args: &[&str]) -> Run {
    let mut command = program(router.address());
    command.args(args);
    output(command).await
}

/// Creates a session on this branch and waits until it is running.
async fn running_session(router: &TestRouter, branch: &str) -> SessionHash {
    let create = run(router, &["create", REPO, branch, "--wait"]).await;
    let hash = SessionHash::parse(create.success()).expect("a key");
    let session = soon(router.client(ALICE).get(hash)).await.expect("the session");
    assert_eq!(session.state, State::Running);
    hash
}

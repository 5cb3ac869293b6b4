//! The program as people and scripts run it, against a router on a loopback socket.

mod deleting;
mod kubernetes;
mod refusals;
mod sessions;

use std::{future::Future, process::Stdio, time::Duration};

use api::{testing::TestRouter, testing::USER, wire::State};
use session_key::SessionHash;
use tokio::process::Command;

const ALICE: &str = "alice@example.com";
const REPO: &str = "https://github.com/acme/widgets";

/// What must happen soon; a test that waits longer has failed.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it did not happen within 30 s")
}

async fn router() -> TestRouter {
    soon(TestRouter::start()).await.expect("a router")
}

/// What a run left behind.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    /// It went well; what it printed, without the last line end.
    #[track_caller]
    fn well(&self) -> &str {
        assert_eq!(self.code, 0, "{self:?}");
        self.out.trim_end()
    }

    /// It ended with this code and printed nothing but an explanation.
    #[track_caller]
    fn badly(&self, code: i32, part: &str) {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{self:?}");
        assert!(self.err.contains(part), "{part:?} is not in {}", self.err);
    }
}

/// The program, with nothing of this machine's environment.
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

async fn output(mut command: Command) -> Ran {
    let output = soon(command.output()).await.expect("it runs");
    Ran {
        code: output.status.code().expect("an exit code"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

async fn run(router: &TestRouter, args: &[&str]) -> Ran {
    let mut command = program(router.address());
    command.args(args);
    output(command).await
}

/// A running session on this branch.
async fn running(router: &TestRouter, branch: &str) -> SessionHash {
    let ran = run(router, &["create", REPO, branch, "--wait"]).await;
    let hash = SessionHash::parse(ran.well()).expect("a key");
    let session = soon(router.client(ALICE).get(hash)).await.expect("the session");
    assert_eq!(session.state, State::Running);
    hash
}

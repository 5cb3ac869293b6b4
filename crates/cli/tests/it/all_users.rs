//! `--all`: an administrator's commands.

use api::testing::{ADMIN, USER};

use crate::{Run, output, program, run, running_session, start_router};

const ROOT: &str = "root@example.org";

async fn run_as_administrator(address: &str, args: &[&str]) -> Run {
    let mut command = program(address);
    command.env("OPENCODE_ROUTER_HEADERS", format!("{USER}: {ROOT}\n{ADMIN}: yes")).args(args).arg("--all");
    output(command).await
}

#[tokio::test]
async fn an_administrator_lists_stops_and_deletes_everybodys_sessions() {
    let router = start_router().await;
    let hash = running_session(&router, "fix").await.to_string();
    let address = router.address();
    let list = run_as_administrator(address, &["list"]).await;
    assert!(list.success().contains("alice@example.com"), "{}", list.out);
    let json = run_as_administrator(address, &["list", "-o", "json"]).await;
    assert!(json.success().contains("\"busy\"") && !json.out.contains("\"url\""), "{}", json.out);
    assert!(run_as_administrator(address, &["show", &hash]).await.success().contains("Owner:"));
    assert!(run_as_administrator(address, &["logs", &hash]).await.success().contains("running as"));
    assert_eq!(run_as_administrator(address, &["stop", &hash[..4]]).await.success(), hash);
    run_as_administrator(address, &["resume", &hash]).await.failure(2, "Its owner can");
    run_as_administrator(address, &["open", &hash]).await.failure(2, "Leave out --all");
    assert_eq!(run_as_administrator(address, &["delete", "--yes", &hash]).await.success(), hash);
    run_as_administrator(address, &["show", &hash]).await.failure(3, "there is no session");
    let empty = run_as_administrator(address, &["list", "--user", "alice@example.com"]).await;
    assert!(empty.err.contains("There are no sessions of alice@example.com."), "{}", empty.err);
}

#[tokio::test]
async fn everybody_else_is_told_who_an_administrator_is() {
    let router = start_router().await;
    run(&router, &["list", "--all"]).await.failure(4, "ADMIN_EMAILS and ADMIN_GROUPS");
    run(&router, &["list", "--all", "--kube"]).await.failure(2, "cannot be used with");
}

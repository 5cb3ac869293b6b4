//! attach, with a program in place of opencode that prints how it was called.

use std::{fs, os::unix::fs::PermissionsExt as _};

use tempfile::TempDir;

use crate::{ALICE, run, running_session, soon, start_router};

/// Makes a program that prints its arguments and its environment, and ends with this exit code.
fn fake_opencode(folder: &TempDir, exit_code: u8) -> String {
    let path = folder.path().join("opencode");
    let script = format!(
        "#!/bin/sh\necho \"args: $*\"\necho \"password: $OPENCODE_SERVER_PASSWORD\"\n\
         echo \"proxy: $HTTP_PROXY\"\nexit {exit_code}\n"
    );
    fs::write(&path, script).expect("the program is written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("the program is executable");
    path.to_str().expect("UTF-8").to_owned()
}

#[tokio::test]
async fn opencode_gets_the_token_in_its_environment_and_the_token_ends_with_it() {
    let (router, folder) = (start_router().await, TempDir::new().expect("a folder"));
    let hash = running_session(&router, "fix").await;
    let key = hash.to_string();
    for (exit_code, expected) in [(0, 0), (7, 1)] {
        let opencode = fake_opencode(&folder, exit_code);
        let attached = run(&router, &["attach", &key[..6], "--opencode", &opencode, "--", "--mini"]).await;
        assert_eq!(attached.code, expected, "{attached:?}");
        let line = |name: &str| {
            let line = attached.out.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {attached:?}")).to_owned()
        };
        let args = line("args: ");
        let url = format!("attach http://attach-{hash}.localhost:3000 --session ses_");
        assert!(args.starts_with(&url) && args.ends_with(" --mini"), "{args}");
        assert!(!args.contains("ocattach_"), "every user of the machine can read {args}");
        assert!(line("password: ").starts_with("ocattach_"), "{attached:?}");
        assert_eq!(line("proxy: "), router.address().trim_end_matches('/'));
        let info = soon(router.client(ALICE).attach_info(hash)).await.expect("the tokens");
        assert_eq!(info.tokens, [], "the token is revoked");
    }
    let missing = run(&router, &["attach", &key, "--opencode", "/nowhere/opencode"]).await;
    missing.failure(1, "opencode could not be started");
    let info = soon(router.client(ALICE).attach_info(hash)).await.expect("the tokens");
    assert_eq!(info.tokens, []);
}

#[tokio::test]
async fn a_printed_command_has_a_token_that_is_listed_and_revoked() {
    let router = start_router().await;
    let key = running_session(&router, "fix").await.to_string();
    for name in ["laptop", "server"] {
        let printed = run(&router, &["attach", &key, "--print", "--name", name, "--days", "7"]).await;
        let command = printed.success();
        assert!(command.contains("opencode attach http://attach-"), "{command}");
        assert!(command.contains(" --password ocattach_"), "{command}");
    }
    let list = run(&router, &["attach", "list", &key]).await;
    assert!(list.success().contains("laptop") && list.out.contains("server"), "{list:?}");
    assert!(!list.out.contains("ocattach_"), "{list:?}");
    run(&router, &["attach", "revoke", &key, "phone"]).await.failure(3, "no token \"phone\"");
    run(&router, &["attach", "revoke", &key, "laptop"]).await.success();
    let list = run(&router, &["attach", "list", &key]).await;
    assert!(!list.success().contains("laptop") && list.out.contains("server"), "{list:?}");
    run(&router, &["attach", "revoke", &key, "--all-tokens"]).await.success();
    assert_eq!(run(&router, &["attach", "list", &key]).await.success(), "");
    run(&router, &["attach"]).await.failure(2, "SESSION");
    run(&router, &["attach", "revoke", &key]).await.failure(2, "TOKEN");
}

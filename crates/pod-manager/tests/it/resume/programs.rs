//! A repository cannot make a resume run its programs: the table holds for both implementations.

use std::{
    io::{Read, Write},
    net::TcpListener,
    panic::AssertUnwindSafe,
};

use futures_util::FutureExt;

use super::{Implementation, OnLocal, shell};
use crate::local::harness::script;

struct Case {
    name: &'static str,
    /// Shell commands, run in a clone with the branch `release` checked out. `$TRAP` is a program that
    /// must not run, `$URL` asks for a sign-in.
    made_by: &'static str,
}

const fn case(name: &'static str, made_by: &'static str) -> Case {
    Case { name, made_by }
}

const CASES: &[Case] = &[
    case("a file system monitor", "git config core.fsmonitor $TRAP; git config core.fsmonitorHookVersion 2"),
    case(
        "hooks",
        "git switch -q main; for hook in post-checkout post-index-change reference-transaction pre-auto-gc; \
         do cp $TRAP .git/hooks/$hook; done",
    ),
    case(
        "a folder of hooks",
        "git switch -q main; mkdir .git/own; cp $TRAP .git/own/reference-transaction; \
         git config core.hooksPath .git/own",
    ),
    case(
        "an ssh command",
        "git config core.sshCommand $TRAP; git remote set-url origin ssh://git@127.0.0.1:1/a/b",
    ),
    case(
        "a program that asks for passwords",
        "git config core.askPass $TRAP; git remote set-url origin $URL",
    ),
    case("a credential helper", "git config credential.helper \"!$TRAP\"; git remote set-url origin $URL"),
    case(
        "a credential helper of an address",
        "git config credential.http://127.0.0.1.helper \"!$TRAP\"; \
         git config credential.$URL.helper \"!$TRAP\"; git remote set-url origin $URL",
    ),
    case("a proxy", "git config core.gitProxy $TRAP; git remote set-url origin git://127.0.0.1:1/a/b"),
    case("a program to send packs", "git config remote.origin.uploadpack $TRAP"),
    case(
        "an address that is a program",
        "git config protocol.ext.allow always; git remote set-url origin \"ext::$TRAP\"",
    ),
    case(
        "a helper that is a program",
        "git config protocol.ext.allow always; git config remote.origin.vcs ext; \
         git remote set-url origin $TRAP",
    ),
    case(
        "a rewritten address that is a program",
        "git config protocol.ext.allow always; git config \"url.ext::$TRAP .insteadOf\" file://",
    ),
    case(
        "a program that lists references",
        "git clone -q --bare $REMOTE $ROOT/alternate.git; \
         echo $ROOT/alternate.git/objects > .git/objects/info/alternates; \
         git config core.alternateRefsCommand $TRAP; git -C $REMOTE branch -q new \
         \"$(git -C $REMOTE -c user.name=a -c user.email=a@b commit-tree -m new release^{tree})\"",
    ),
    case(
        "a filter that cleans",
        "git config filter.own.clean $TRAP; echo '* filter=own' > .git/info/attributes; \
         touch -d 2001-01-01 README.md",
    ),
    case(
        "a filter that smudges",
        "git switch -q main; git config filter.own.smudge $TRAP; \
         echo '* filter=own' > .git/info/attributes",
    ),
    case(
        "a filter that keeps running",
        "git switch -q main; git config filter.own.process $TRAP; \
         echo '* filter=own' > .git/info/attributes",
    ),
    case(
        "a filter in a file of its own",
        "git switch -q main; printf '[filter \"own\"]\\n\\tsmudge = %s\\n' $TRAP > .git/own; \
         git config include.path own; echo '* filter=own' > .git/info/attributes",
    ),
];

/// The address of a web server that asks everybody for a sign-in.
fn server_with_sign_in() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(
                b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\
                  Content-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
    });
    format!("http://{address}/a/b")
}

async fn check_all<I: Implementation>(make: impl AsyncFn() -> I) {
    let mut broken = Vec::new();
    let url = server_with_sign_in();
    for case in CASES {
        let implementation = make().await;
        let (root, repo) = (implementation.root(), implementation.repo());
        let trace = root.join("trace");
        let trap = script(&root.join("trap"), &format!("echo \"$0 $*\" >> '{}'", trace.display()));
        implementation.start().await;
        let (trap, trace_path) = (trap.display(), trace.display());
        let prelude = format!("TRAP='{trap}' TRACE='{trace_path}' URL='{url}'; {}", case.made_by);
        shell(&root, &repo, &prelude);
        assert!(!trace.exists(), "{}: it ran before the resume", case.name);
        let resumed = AssertUnwindSafe(implementation.start()).catch_unwind().await;
        if resumed.is_err() || trace.exists() {
            broken.push(case.name);
        }
    }
    assert!(broken.is_empty(), "{} of {}: {broken:#?}", broken.len(), CASES.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_backend_runs_no_program_of_a_repository() {
    check_all(OnLocal::new).await;
}

#[cfg(feature = "kubernetes")]
#[tokio::test(flavor = "multi_thread")]
async fn the_init_script_runs_no_program_of_a_repository() {
    check_all(async || super::script::OnScript::new()).await;
}

#[cfg(feature = "kubernetes")]
#[tokio::test(flavor = "multi_thread")]
async fn the_script_beside_opencode_runs_no_program_of_a_repository() {
    check_all(async || super::script::OnScript::beside()).await;
}

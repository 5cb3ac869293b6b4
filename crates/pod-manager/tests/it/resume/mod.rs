//! A resume never loses work. One table of repository states and expected outcomes holds for both
//! implementations: the local backend, and the script of a session's Pod.

mod programs;
#[cfg(feature = "kubernetes")]
pub(crate) mod script;
mod states;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use futures_util::FutureExt;
use pod_manager::{
    Credentials, FailureCode, LocalBackend, Phase, Session, SessionBackend, SessionStatus,
    contract::WatchProbe,
};

use super::local::harness::{Local, TIMEOUT, environment};
use states::{Expected, STATES, State};

/// The branch that the sessions of this table are on.
const BRANCH: &str = "release";

/// One of the two implementations that clone and refresh a repository.
trait Implementation {
    fn root(&self) -> PathBuf;
    fn repo(&self) -> PathBuf;
    /// Clones the repository, or refreshes the clone.
    async fn start(&self);
}

/// The local backend, with no opencode to start: the session fails after its repository is prepared.
struct OnLocal {
    local: Local,
    backend: Arc<LocalBackend>,
    session: Session,
}

impl OnLocal {
    async fn new() -> Self {
        let mut local = Local::new();
        local.settings.opencode = "/nowhere/opencode".into();
        local.add_release();
        let (backend, session) = (local.backend().await, local.session("origin", BRANCH, None));
        Self { local, backend, session }
    }
}

impl Implementation for OnLocal {
    fn root(&self) -> PathBuf {
        self.local.root()
    }

    fn repo(&self) -> PathBuf {
        self.local.repo(self.session.hash)
    }

    async fn start(&self) {
        let mut probe = WatchProbe::new(&*self.backend, TIMEOUT);
        self.backend.start(&self.session, Credentials::NONE).await.expect("start");
        let starts = |status: &SessionStatus| status.phase == Phase::Starting;
        probe.wait_for(self.session.hash, "starting", starts).await;
        let status = probe.wait_failed(self.session.hash).await;
        let Phase::Failed(failure) = &status.phase else { unreachable!("it failed") };
        assert_eq!(failure.code, FailureCode::OpencodeNotFound, "{failure:?}");
    }
}

/// Runs a shell snippet in the repository, as its user would.
#[track_caller]
fn shell(root: &Path, dir: &Path, snippet: &str) -> String {
    let output = Command::new("sh")
        .args(["-euc", snippet])
        .current_dir(dir)
        .env_clear()
        .envs(environment(&root.join("home")))
        .envs([("ROOT", root.to_path_buf()), ("REMOTE", root.join("origin.git"))])
        .envs(["AUTHOR", "COMMITTER"].into_iter().flat_map(|role| {
            [(format!("GIT_{role}_NAME"), "User"), (format!("GIT_{role}_EMAIL"), "user@example.com")]
        }))
        .output()
        .expect("sh runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{snippet}: {stderr}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Everything about a repository that a resume may change or lose.
struct Snapshot {
    /// Every file of the repository, except for what any fetch writes.
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// Branches, tags and the stash; `None` if git can't read the repository.
    refs: Option<BTreeSet<String>>,
    /// Every commit that is reachable.
    commits: Option<BTreeSet<String>>,
    /// Files that are in no commit: untracked and ignored ones.
    untracked: Option<BTreeSet<String>>,
}

impl Snapshot {
    fn of(root: &Path, repo: &Path) -> Self {
        let mut files = BTreeMap::new();
        read_files(repo, repo, &mut files);
        let lines = |arguments: &str| {
            let snippet = format!("git --no-optional-locks {arguments} 2>/dev/null || echo UNREADABLE");
            let output = shell(root, repo, &snippet);
            (!output.ends_with("UNREADABLE")).then(|| output.lines().map(str::to_owned).collect())
        };
        Self {
            files,
            refs: lines("for-each-ref refs/heads refs/tags refs/stash"),
            commits: lines("rev-list --all"),
            untracked: lines("ls-files --others"),
        }
    }

    fn assert_untouched(&self, after: &Self) {
        let names: BTreeSet<_> = self.files.keys().chain(after.files.keys()).collect();
        let changed: Vec<_> =
            names.into_iter().filter(|name| self.files.get(*name) != after.files.get(*name)).collect();
        assert!(changed.is_empty(), "files were changed: {changed:?}");
        assert_eq!(self.refs, after.refs);
    }

    fn assert_nothing_lost(&self, after: &Self) {
        let lost = |before: &Option<BTreeSet<String>>, after: &Option<BTreeSet<String>>| {
            let (before, after) = (before.clone().unwrap_or_default(), after.clone().unwrap_or_default());
            before.difference(&after).cloned().collect::<Vec<_>>()
        };
        assert_eq!(lost(&self.refs, &after.refs), [""; 0], "a branch, a tag or the stash was moved");
        assert_eq!(lost(&self.commits, &after.commits), [""; 0], "commits became unreachable");
        for name in self.untracked.iter().flatten().map(Path::new) {
            assert_eq!(self.files.get(name), after.files.get(name), "{} was changed", name.display());
        }
    }
}

fn read_files(top: &Path, dir: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(dir).expect("a folder").flatten() {
        let path = entry.path();
        let name = path.strip_prefix(top).expect("a path below").to_owned();
        let fetched = ["objects", "FETCH_HEAD", "refs/remotes", "logs/refs/remotes"];
        if fetched.iter().any(|fetched| name == Path::new(".git").join(fetched)) {
            continue;
        }
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            read_files(top, &path, files);
        } else if kind.is_symlink() {
            files.insert(name, fs::read_link(&path).expect("a link").into_os_string().into_encoded_bytes());
        } else {
            files.insert(name, fs::read(&path).expect("a file"));
        }
    }
}

async fn check(state: &State, implementation: &impl Implementation) {
    let (root, repo) = (implementation.root(), implementation.repo());
    implementation.start().await;
    assert_eq!(fs::read_to_string(repo.join(".git/HEAD")).expect("a HEAD"), "ref: refs/heads/release\n");
    shell(&root, &repo, state.made_by);
    let before = Snapshot::of(&root, &repo);
    implementation.start().await;
    let after = Snapshot::of(&root, &repo);
    match state.expected {
        Expected::Untouched => before.assert_untouched(&after),
        Expected::CheckedOut => {
            let head = shell(&root, &repo, "git symbolic-ref HEAD");
            assert_eq!(head, "refs/heads/release", "the session's branch was not checked out");
        }
    }
    before.assert_nothing_lost(&after);
}

/// Runs the whole table, and reports every state whose promise is broken.
async fn check_all<I: Implementation>(make: impl AsyncFn() -> I) {
    let mut broken = Vec::new();
    for state in STATES {
        let implementation = make().await;
        let result = AssertUnwindSafe(check(state, &implementation)).catch_unwind().await;
        if let Err(panic) = result {
            broken.push((state.name, panic.downcast_ref::<String>().cloned().unwrap_or_default()));
        }
    }
    assert!(broken.is_empty(), "{} of {} states: {broken:#?}", broken.len(), STATES.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_backend_loses_no_work_on_a_resume() {
    check_all(OnLocal::new).await;
}

#[cfg(feature = "kubernetes")]
#[tokio::test(flavor = "multi_thread")]
async fn the_init_script_loses_no_work_on_a_resume() {
    check_all(async || script::OnScript::new()).await;
}

#[cfg(feature = "kubernetes")]
#[tokio::test(flavor = "multi_thread")]
async fn the_script_beside_opencode_loses_no_work_on_a_resume() {
    check_all(async || script::OnScript::beside()).await;
}

#![expect(clippy::disallowed_methods, reason = "a test reads whole answers of the servers that it started")]

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use pod_manager::{
    Credentials, Endpoint, Failure, ManualClock, Phase, Session, SessionBackend, Source, StopReason,
    contract::{Harness, WatchProbe, session_of},
    local::{LocalBackend, LocalError, LocalSettings, UNREAD_CHANGES},
};
use serde_json::Value;
use session_key::{GitRef, Identity, RepoPolicy, RepoUrl, SessionHash};
use tempfile::TempDir;

use super::fake_opencode;

/// A state folder, a remote, and settings with short times.
pub(crate) struct Local {
    root: PathBuf,
    pub(crate) settings: LocalSettings,
    count: AtomicU64,
    _dir: Option<TempDir>,
}

impl Local {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("a folder");
        std::fs::create_dir(root.join("home")).expect("a home");
        fake_opencode::install(&root);
        let local = Self { _dir: Some(dir), ..Self::at(root) };
        local.make_remote("origin");
        local
    }

    /// Uses a folder that another harness created.
    pub(crate) fn at(root: PathBuf) -> Self {
        let mut settings = LocalSettings::new(root.join("state"), root.join("opencode"));
        settings.environment = environment(&root.join("home"));
        settings.limits.ready = Duration::from_secs(60);
        settings.limits.stop = Duration::from_secs(5);
        settings.limits.restart_delay = Duration::from_millis(20);
        settings.limits.restarts = 2;
        Self { root, settings, count: AtomicU64::new(0), _dir: None }
    }

    /// Creates a harness whose opencode has this behavior.
    pub(crate) fn with_behavior(behavior: &str) -> Self {
        let mut local = Self::new();
        local.set_behavior(behavior);
        local
    }

    pub(crate) fn set_behavior(&mut self, behavior: &str) {
        self.settings.variables = vec![(fake_opencode::BEHAVIOR.into(), behavior.into())];
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.root.clone()
    }

    pub(crate) async fn backend(&self) -> Arc<LocalBackend> {
        self.try_backend().await.expect("the backend opens")
    }

    pub(crate) async fn try_backend(&self) -> Result<Arc<LocalBackend>, LocalError> {
        LocalBackend::open(self.settings.clone(), Arc::new(ManualClock::default())).await
    }

    /// Creates a bare repository with the branches `main` and `release`.
    pub(crate) fn make_remote(&self, name: &str) -> PathBuf {
        let bare = self.root().join(format!("{name}.git"));
        let work = self.root().join(format!("{name}.work"));
        self.git(&self.root(), &["init", "-q", "-b", "main", work.to_str().expect("text")]);
        std::fs::write(work.join("README.md"), "hello\n").expect("a file");
        self.git(&work, &["add", "."]);
        self.git(&work, &["commit", "-q", "-m", "one"]);
        self.git(&work, &["branch", "release"]);
        self.git(&work, &["clone", "-q", "--bare", ".", bare.to_str().expect("text")]);
        bare
    }

    /// Adds a commit to the remote's branch `release`: README.md changes, notes.log is new.
    pub(crate) fn add_release(&self) {
        let work = self.root().join("origin.work");
        self.git(&work, &["switch", "-q", "release"]);
        std::fs::write(work.join("README.md"), "released\n").expect("a file");
        std::fs::write(work.join("notes.log"), "notes\n").expect("a file");
        self.git(&work, &["add", "."]);
        self.git(&work, &["commit", "-q", "-m", "released"]);
        self.git(&work, &["push", "-q", self.root().join("origin.git").to_str().expect("text"), "release"]);
    }

    /// Runs git as a user would; returns its output.
    pub(crate) fn git(&self, dir: &Path, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Test", "-c", "user.email=test@example.com"])
            .args(args)
            .current_dir(dir)
            .env_clear()
            .envs(environment(&self.root().join("home")))
            .output()
            .expect("git runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {args:?}: {errors}");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// Creates a session on a branch of the remote with this name.
    pub(crate) fn session(&self, remote: &str, branch: &str, from: Option<&str>) -> Session {
        let url = format!("file://{}/{remote}.git", self.root().display());
        self.session_at(&url, branch, from)
    }

    pub(crate) fn session_at(&self, url: &str, branch: &str, from: Option<&str>) -> Session {
        let mut session = session_of("https://example.com/a/b", RepoPolicy::OWN_MACHINE);
        let url = RepoUrl::parse(url, RepoPolicy::OWN_MACHINE).expect("an address");
        let branch = GitRef::parse(branch).expect("a branch");
        session.hash = SessionHash::of(&session.owner, &url, &branch);
        session.source =
            Source::Repository { url, branch, from: from.map(|from| GitRef::parse(from).expect("a branch")) };
        session
    }

    pub(crate) fn folder(&self, hash: SessionHash) -> PathBuf {
        self.settings.state_dir.join("sessions").join(hash.to_string())
    }

    pub(crate) fn repo(&self, hash: SessionHash) -> PathBuf {
        self.folder(hash).join("repo")
    }
}

/// The environment of a user's shell, with a home of the test.
pub(crate) fn environment(home: &Path) -> Vec<(OsString, OsString)> {
    vec![
        ("PATH".into(), fake_opencode::variable("PATH").expect("a PATH").into()),
        ("HOME".into(), home.into()),
        ("GIT_CONFIG_NOSYSTEM".into(), "1".into()),
    ]
}

/// Returns the running processes whose working folder is inside this folder; `None` if that is unknown.
#[cfg(target_os = "linux")]
pub(crate) fn processes_in(folder: &Path) -> Option<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder)) {
            pids.push(pid);
        }
    }
    Some(pids)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn processes_in(_folder: &Path) -> Option<Vec<u32>> {
    None
}

/// Asserts that no process works inside a folder, as far as that is known.
#[track_caller]
pub(crate) fn assert_no_process_in(folder: &Path) {
    let left = processes_in(folder).unwrap_or_default();
    assert!(left.is_empty(), "processes are left: {left:?}");
}

/// Whether a process is opencode or a child of it, by a variable that no other process gets.
fn has_password(pid: u32) -> bool {
    let name = b"OPENCODE_SERVER_PASSWORD=";
    std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|all| all.split(|byte| *byte == 0).any(|variable| variable.starts_with(name)))
}

/// Returns the environment of a session's opencode; `None` if it can't be read on this system.
pub(crate) fn environment_of(local: &Local, hash: SessionHash) -> Option<BTreeMap<String, String>> {
    let pid = processes_in(&local.repo(hash))?.into_iter().find(|pid| has_password(*pid)).expect("it runs");
    let all = std::fs::read(format!("/proc/{pid}/environ")).expect("its environment");
    let variables = all.split(|byte| *byte == 0).filter_map(|variable| {
        let (name, value) = std::str::from_utf8(variable).expect("text").split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    Some(variables.collect())
}

#[async_trait]
impl Harness for Local {
    async fn open(&self) -> Arc<dyn SessionBackend> {
        self.backend().await
    }

    async fn startable(&self) -> Session {
        session_of(&format!("file://{}/origin.git", self.root().display()), RepoPolicy::OWN_MACHINE)
    }

    async fn failing(&self) -> Session {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let url = format!("file://{}/later-{number}.git", self.root().display());
        session_of(&url, RepoPolicy::OWN_MACHINE)
    }

    async fn repair(&self, session: &Session) {
        let Source::Repository { url, .. } = &session.source else { panic!("no repository") };
        let name = url.as_str().rsplit('/').next().and_then(|name| name.strip_suffix(".git"));
        self.make_remote(name.expect("a name of this harness"));
    }

    async fn processes(&self, hash: SessionHash) -> Option<usize> {
        // git works in the folder as well, but never at the same time as opencode.
        let all = processes_in(&self.repo(hash))?;
        let opencode = all.iter().filter(|pid| has_password(**pid)).count();
        Some(opencode + usize::from(opencode > 0 && all.len() > opencode))
    }

    async fn stored(&self, hash: SessionHash) -> bool {
        let trash = std::fs::read_dir(self.settings.state_dir.join("trash")).into_iter().flatten().flatten();
        let on_its_way = trash
            .map(|entry| entry.file_name())
            .any(|name| name.to_string_lossy().starts_with(&hash.to_string()));
        self.folder(hash).exists() || on_its_way
    }

    async fn secrets(&self, user: &Identity) -> BTreeMap<String, Vec<u8>> {
        let file = self.settings.state_dir.join(format!("user-secrets/{}.json", user.digest()));
        let Ok(bytes) = std::fs::read(file) else { return BTreeMap::new() };
        let content: Value = serde_json::from_slice(&bytes).expect("JSON");
        let secrets = content["secrets"].as_object().expect("secrets").clone().into_iter();
        secrets.map(|(name, value)| (name, value.as_str().expect("text").into())).collect()
    }

    fn patience(&self) -> Duration {
        TIMEOUT
    }

    fn unread_changes(&self) -> Option<usize> {
        Some(UNREAD_CHANGES)
    }
}

/// How long a test waits before it fails.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(90);

/// Starts a session, and waits until opencode is ready.
pub(crate) async fn run(backend: &LocalBackend, session: &Session) -> Endpoint {
    backend.start(session, Credentials::NONE).await.expect("start");
    WatchProbe::new(backend, TIMEOUT).wait_running(session.hash).await
}

/// Stops a session, and waits until it has stopped.
pub(crate) async fn stop(backend: &LocalBackend, session: &Session) {
    backend.stop(session.hash, StopReason::Requested).await.expect("stop");
    WatchProbe::new(backend, TIMEOUT).wait_stopped(session.hash).await;
}

/// Starts a session, and waits for its failure.
pub(crate) async fn fail(backend: &LocalBackend, session: &Session) -> Failure {
    backend.start(session, Credentials::NONE).await.expect("start");
    let status = WatchProbe::new(backend, TIMEOUT).wait_failed(session.hash).await;
    let Phase::Failed(failure) = &status.phase else { unreachable!("a failed session") };
    failure.clone()
}

/// Gets a page of a session's opencode; returns `None` if the connection breaks.
pub(crate) async fn get(endpoint: &Endpoint, path: &str) -> Option<String> {
    let password = endpoint.password.as_ref().expect("a password");
    let request = reqwest::Client::new()
        .get(format!("http://{}{path}", endpoint.address))
        .basic_auth("opencode", Some(password.expose()));
    let response = request.send().await.ok()?;
    assert_eq!(response.status(), 200, "{path}");
    response.text().await.ok()
}

/// Writes an executable shell script.
pub(crate) fn script(path: &Path, lines: &str) -> PathBuf {
    std::fs::write(path, format!("#!/bin/sh\n{lines}\n")).expect("the script is written");
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("the script can be run");
    path.to_owned()
}

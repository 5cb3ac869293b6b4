//! A place for routers to run in: a home, a state folder, and ports that the kernel chooses.

#![expect(clippy::disallowed_methods, reason = "a test reads whole answers of the servers that it started")]

use std::{
    fs,
    future::Future,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// Generous: these tests share the machine with others, and opencode takes a second by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Asks until there is an answer.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The pinned opencode.
pub(crate) fn opencode() -> PathBuf {
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.opencode/bin/opencode");
    assert!(program.exists(), "the real opencode is missing: run `make opencode` (`make test` does)");
    program
}

/// Folders that outlive the routers started in them.
pub(crate) struct House {
    folder: tempfile::TempDir,
}

impl House {
    /// A home as that of someone who used opencode before: without it, opencode downloads 94 MB at its first start.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().join("home");
        let config = home.join(".config/opencode");
        fs::create_dir_all(config.join("node_modules")).expect("a home");
        let version = fs::read_link(opencode()).expect("a link into the version's folder");
        let version =
            version.to_str().and_then(|path| path.rsplit('-').next()?.split('/').next()).expect("a version");
        let dependencies = json!({ "@opencode-ai/plugin": version });
        let lock = json!({
            "name": "opencode", "lockfileVersion": 3, "requires": true,
            "packages": { "": { "dependencies": &dependencies } },
        });
        let write = |path: PathBuf, text: String| fs::write(path, text).expect("written");
        write(config.join("package.json"), json!({ "dependencies": dependencies }).to_string());
        write(config.join("package-lock.json"), lock.to_string());
        write(home.join("models.json"), "{}".to_owned());
        write(home.join(".gitconfig"), "[user]\n\tname = Test\n\temail = test@example.org\n".to_owned());
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.path().join("state")
    }

    /// The router's program with an environment of its own; nothing of ours but the PATH goes in.
    pub(crate) fn command(&self, variables: &[(&str, &str)]) -> Command {
        let home = self.path().join("home");
        let mut command = Command::new(env!("CARGO_BIN_EXE_opencode-router"));
        command
            .env_clear()
            .env("PATH", env!("PATH"))
            .env("LANG", "C.UTF-8")
            .env("SHELL", "/bin/sh")
            .env("HOME", &home)
            .env("STATE_DIR", self.state_dir())
            .env("PORT", "0")
            .env("HEALTH_PORT", "0")
            .env("LOG_FORMAT", "json")
            .env("OPENCODE_BIN", opencode())
            .env("OPENCODE_DISABLE_MODELS_FETCH", "1")
            .env("OPENCODE_DISABLE_AUTOUPDATE", "1")
            .env("OPENCODE_DISABLE_LSP_DOWNLOAD", "1")
            .env("OPENCODE_MODELS_PATH", home.join("models.json"))
            .envs(variables.iter().copied())
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Starts a router and waits until it says that it is up.
    pub(crate) async fn start(&self, variables: &[(&str, &str)]) -> Router {
        let mut child = self.command(variables).spawn().expect("the router starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut lines = BufReader::new(child.stderr.take().expect("standard error")).lines();
        let keep = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                keep.lock().push(line);
            }
        });
        let up = eventually("the router is up", || {
            assert!(child.try_wait().expect("a status").is_none(), "it ended: {:#?}", log.lock());
            let found = entries(&log.lock()).into_iter().find(|entry| entry["message"] == "the router is up");
            async move { found }
        })
        .await;
        let url = up["url"].as_str().expect("an address").to_owned();
        let port = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let health = format!("http://{}", up["health"].as_str().expect("an address"));
        Router {
            child,
            log,
            port,
            health,
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
        }
    }

    /// Runs it to its end; gives the exit code and all it wrote.
    pub(crate) async fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
        let output = timeout(PATIENCE, self.command(variables).args(arguments).output()).await;
        let output = output.expect("it ends by itself").expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("text"))
    }
}

/// A router that is up. Dropped, it is asked to end and waited for: killed, it would leave its sessions running.
pub(crate) struct Router {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    pub(crate) port: u16,
    pub(crate) health: String,
    pub(crate) http: reqwest::Client,
}

impl Router {
    /// All that it logged so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        entries(&self.log.lock())
    }

    /// A request to the site or, by `host`, to a session; names under `localhost` are not resolved by every system.
    pub(crate) fn request(&self, method: reqwest::Method, host: &str, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("http://127.0.0.1:{}{path}", self.port))
            .header("host", format!("{host}:{}", self.port))
            .timeout(PATIENCE)
    }

    pub(crate) fn get(&self, host: &str, path: &str) -> reqwest::RequestBuilder {
        self.request(reqwest::Method::GET, host, path)
    }

    /// A change of something by the API.
    pub(crate) async fn change(&self, method: reqwest::Method, path: &str, body: Value) -> (u16, Value) {
        let answer = self.request(method, "localhost", path).json(&body).send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    pub(crate) async fn session(&self, hash: &str) -> Value {
        let answer = self.get("localhost", &format!("/api/sessions/{hash}")).send().await.expect("an answer");
        answer.json().await.expect("JSON")
    }

    /// Waits until the session is in that state.
    pub(crate) async fn until(&self, hash: &str, state: &str) -> Value {
        eventually(&format!("{hash} is {state}"), async || {
            let session = self.session(hash).await;
            assert!(session["state"] != "failed" || state == "failed", "{session:#}");
            (session["state"] == state).then_some(session)
        })
        .await
    }

    /// A new project, running.
    pub(crate) async fn new_session(&self) -> String {
        let (status, created) = self.change(reqwest::Method::POST, "/api/sessions", json!({})).await;
        assert_eq!(status, 201, "{created:#}");
        let hash = created["hash"].as_str().expect("a hash").to_owned();
        self.until(&hash, "running").await;
        hash
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends a signal by its name.
    pub(crate) async fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().await;
        assert!(sent.expect("kill runs").success());
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("it ends").expect("a status")
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let Some(pid) = self.child.id() else { return };
        // What can't be sent or waited for is killed by `kill_on_drop`.
        let _unsent = std::process::Command::new("kill").arg(pid.to_string()).status();
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn entries(lines: &[String]) -> Vec<Value> {
    lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The processes whose parent is `pid`.
pub(crate) async fn children(pid: u32) -> Vec<u32> {
    let output = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output().await.expect("ps runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let pairs = text.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u32>().ok());
        Some((numbers.next()??, numbers.next()??))
    });
    pairs.filter(|&(_, parent)| parent == pid).map(|(child, _)| child).collect()
}

pub(crate) async fn is_alive(pid: u32) -> bool {
    // A zombie is not alive.
    let output =
        Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().await.expect("ps runs");
    let state = String::from_utf8(output.stdout).expect("text");
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

//! Runs the router's program in a home of its own, with ports that the kernel chooses.

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

/// A generous timeout: the machine is shared, and opencode takes a second to start.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(90);

/// Calls `poll` until it returns a value.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    goal: &str,
    mut poll: impl FnMut() -> F,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = poll().await {
            return value;
        }
        assert!(started.elapsed() < TIMEOUT, "timed out waiting until {goal}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Returns the path of the pinned opencode.
pub(crate) fn opencode() -> PathBuf {
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.opencode/bin/opencode");
    assert!(program.exists(), "opencode is missing: run `make opencode` (`make test` does)");
    program
}

/// A home and a state folder, shared by the routers that are started in it one after the other.
pub(crate) struct TestHome {
    folder: tempfile::TempDir,
}

impl TestHome {
    /// Creates the home of a user who has used opencode before. In an empty one, opencode downloads 94 MB.
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
        let write = |path: PathBuf, text: String| fs::write(path, text).expect("a written file");
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

    /// Returns the command of the router, with an environment that inherits nothing.
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

    /// Starts a router and waits until it logs that it is ready.
    pub(crate) async fn start(&self, variables: &[(&str, &str)]) -> TestRouter {
        let mut child = self.command(variables).spawn().expect("the router starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut lines = BufReader::new(child.stderr.take().expect("standard error")).lines();
        let log_copy = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                log_copy.lock().push(line);
            }
        });
        let ready = eventually("the router is ready", || {
            assert!(child.try_wait().expect("a status").is_none(), "the router ended: {:#?}", log.lock());
            let entry = entries(&log.lock()).into_iter().find(|entry| entry["message"] == "router ready");
            async move { entry }
        })
        .await;
        let url = ready["url"].as_str().expect("an address").to_owned();
        let port = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let health = format!("http://{}", ready["health"].as_str().expect("an address"));
        TestRouter {
            child,
            log,
            port,
            health,
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
        }
    }

    /// Runs the program to its end; returns the exit code and everything that it wrote.
    pub(crate) async fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
        let output = timeout(TIMEOUT, self.command(variables).args(arguments).output()).await;
        let output = output.expect("an end").expect("an output");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("text"))
    }
}

/// A running router. Dropping it sends SIGTERM and waits: a killed router would leave its sessions running.
pub(crate) struct TestRouter {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    pub(crate) port: u16,
    pub(crate) health: String,
    pub(crate) http: reqwest::Client,
}

impl TestRouter {
    /// Returns the log so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        entries(&self.log.lock())
    }

    /// Returns a request to the host, by its address: not every system resolves names below `localhost`.
    pub(crate) fn request(&self, method: reqwest::Method, host: &str, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("http://127.0.0.1:{}{path}", self.port))
            .header("host", format!("{host}:{}", self.port))
            .timeout(TIMEOUT)
    }

    pub(crate) fn get(&self, host: &str, path: &str) -> reqwest::RequestBuilder {
        self.request(reqwest::Method::GET, host, path)
    }

    /// Sends a body to the API; returns the status and the JSON of the response.
    pub(crate) async fn send(&self, method: reqwest::Method, path: &str, body: Value) -> (u16, Value) {
        let response = self.request(method, "localhost", path).json(&body).send().await.expect("a response");
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or_default())
    }

    pub(crate) async fn session(&self, hash: &str) -> Value {
        let response = self.get("localhost", &format!("/api/sessions/{hash}")).send().await;
        response.expect("a response").json().await.expect("JSON")
    }

    /// Waits until the session is in that state.
    pub(crate) async fn wait_for_state(&self, hash: &str, state: &str) -> Value {
        eventually(&format!("{hash} is {state}"), async || {
            let session = self.session(hash).await;
            assert!(session["state"] != "failed" || state == "failed", "{session:#}");
            (session["state"] == state).then_some(session)
        })
        .await
    }

    /// Creates a session without a repository, and waits until it runs.
    pub(crate) async fn new_session(&self) -> String {
        let (status, created) = self.send(reqwest::Method::POST, "/api/sessions", json!({})).await;
        assert_eq!(status, 201, "{created:#}");
        let hash = created["hash"].as_str().expect("a hash").to_owned();
        self.wait_for_state(&hash, "running").await;
        hash
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("a running router")
    }

    /// Sends the signal of that name.
    pub(crate) async fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().await;
        assert!(sent.expect("kill").success());
    }

    pub(crate) async fn wait_for_exit(&mut self) -> ExitStatus {
        timeout(TIMEOUT, self.child.wait()).await.expect("an end").expect("a status")
    }
}

impl Drop for TestRouter {
    fn drop(&mut self) {
        let Some(pid) = self.child.id() else { return };
        // If this fails, `kill_on_drop` kills the router.
        let _best_effort = std::process::Command::new("kill").arg(pid.to_string()).status();
        let started = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && started.elapsed() < TIMEOUT {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn entries(lines: &[String]) -> Vec<Value> {
    lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Returns the child processes of `pid`.
pub(crate) async fn children(pid: u32) -> Vec<u32> {
    let output = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output().await.expect("ps");
    let text = String::from_utf8(output.stdout).expect("text");
    let pairs = text.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u32>().ok());
        Some((numbers.next()??, numbers.next()??))
    });
    pairs.filter(|&(_, parent)| parent == pid).map(|(child, _)| child).collect()
}

pub(crate) async fn is_alive(pid: u32) -> bool {
    // A zombie does not count.
    let output = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().await.expect("ps");
    let state = String::from_utf8(output.stdout).expect("text");
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

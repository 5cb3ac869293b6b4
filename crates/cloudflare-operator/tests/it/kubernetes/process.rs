//! The operator as a process.

use std::{collections::BTreeMap, process::Stdio, sync::Arc};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::watch,
    time::timeout,
};

use super::cluster::{Cluster, TIMEOUT};

pub(super) const PROGRAM: &str = env!("CARGO_BIN_EXE_opencode-cloudflare-operator");

/// A running operator. It is killed when it is dropped.
pub(super) struct Operator {
    child: Child,
    address: String,
    log: Arc<Mutex<Vec<Value>>>,
}

impl Cluster {
    /// Returns the environment of an operator here, with changes.
    pub(super) fn environment(&self, changes: &[(&str, &str)]) -> BTreeMap<String, String> {
        let seed = self.stand_in.with(|model| model.seed.clone());
        let kubeconfig = self.namespace.kubeconfig.display().to_string();
        let url = self.server.api_url();
        let base = [
            ("CF_API_TOKEN", seed.token.as_str()),
            ("CF_ZONE_ID", &seed.zone_id),
            ("CF_TUNNEL_ID", &seed.tunnel_id),
            ("CF_API_URL", &url),
            ("DOMAIN", "example.org"),
            ("ROUTE_SUFFIX", "-oc"),
            ("ROUTER_SERVICE_URL", "http://traefik.traefik.svc:80"),
            ("WATCH_NAMESPACE", self.namespace.name()),
            ("HEALTH_PORT", "0"),
            ("LISTEN_ADDRESS", "127.0.0.1"),
            ("LOG_FORMAT", "json"),
            ("LOG_LEVEL", "info,cloudflare_operator=debug"),
            ("KUBECONFIG", &kubeconfig),
        ];
        base.iter().chain(changes).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Starts an operator, and waits until its health listener answers.
    pub(super) async fn operator(&self, changes: &[(&str, &str)]) -> Operator {
        let mut child = Command::new(PROGRAM)
            .env_clear()
            .envs(self.environment(changes))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program");
        let stderr = BufReader::new(child.stderr.take().expect("its log"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let (sender, mut started) = watch::channel(String::new());
        let kept = log.clone();
        tokio::spawn(async move {
            let mut lines = stderr.lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let line: Value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if let Some(address) = line["health"].as_str() {
                    sender.send_replace(address.to_owned());
                }
                kept.lock().push(line);
            }
        });
        let wait = started.wait_for(|address| !address.is_empty());
        let address = match timeout(TIMEOUT, wait).await {
            Ok(Ok(address)) => address.clone(),
            _ => panic!("not started: {:?}", log.lock()),
        };
        Operator { child, address, log }
    }

    /// Runs the program until it ends; returns its exit code and its output.
    pub(super) async fn run(&self, arguments: &[&str], changes: &[(&str, &str)]) -> (i32, String, String) {
        let output = Command::new(PROGRAM)
            .args(arguments)
            .env_clear()
            .envs(self.environment(changes))
            .kill_on_drop(true)
            .output();
        let output = timeout(TIMEOUT, output).await.expect("it ends").expect("the program");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
    }
}

impl Operator {
    #[expect(clippy::disallowed_methods, reason = "the operator's own answers are short")]
    pub(super) async fn get(&self, path: &str) -> (u16, String) {
        let response = reqwest::get(format!("http://{}{path}", self.address)).await.expect("an answer");
        (response.status().as_u16(), response.text().await.expect("a body"))
    }

    /// Returns `/readyz`.
    pub(super) async fn readyz(&self) -> (u16, Value) {
        let (status, text) = self.get("/readyz").await;
        (status, serde_json::from_str(&text).expect("JSON"))
    }

    /// Returns the reason of a condition.
    pub(super) async fn reason(&self, condition: &str) -> String {
        let (_, body) = self.readyz().await;
        let conditions = body["conditions"].as_array().expect("conditions");
        let found = conditions.iter().find(|entry| entry["type"] == condition);
        found.expect(condition)["reason"].as_str().expect("a reason").to_owned()
    }

    /// Returns the value of a metric, by its line's beginning.
    pub(super) async fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics").await;
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Returns a line of the process's status, such as `VmHWM` (the most memory that it has used).
    pub(super) fn status(&self, name: &str) -> String {
        let id = self.child.id().expect("a process");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        status.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned()
    }

    pub(super) fn log(&self) -> String {
        self.log.lock().iter().map(|line| format!("{line}\n")).collect()
    }

    /// Ends it as SIGKILL does.
    pub(super) async fn kill(mut self) {
        self.child.kill().await.expect("a process");
    }

    /// Ends it by SIGTERM; returns its exit code.
    pub(super) async fn terminate(mut self) -> i32 {
        let id = i32::try_from(self.child.id().expect("a process")).expect("an id");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGTERM)
            .expect("a signal");
        let status = timeout(TIMEOUT, self.child.wait()).await.expect("it ends").expect("a status");
        status.code().expect("a code")
    }
}

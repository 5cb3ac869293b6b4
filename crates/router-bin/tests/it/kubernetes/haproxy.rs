//! HAProxy with the configuration of deploy/recipes/haproxy, in front of two routers on loopback.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UnixStream},
    process::{Child, Command},
    time::{sleep, timeout},
};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Finds HAProxy: HAPROXY_BIN, or the one on the PATH. Without it, the test is skipped, but not in CI.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(super) fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let named = env::var_os("HAPROXY_BIN").map(PathBuf::from);
    let found = named.or_else(|| folders.map(|folder| folder.join("haproxy")).find(|path| path.is_file()));
    if found.is_none() {
        assert!(env::var_os("CI").is_none(), "HAProxy is missing; install it, or set HAPROXY_BIN");
        eprintln!("skipped: HAProxy is missing; install it, or set HAPROXY_BIN");
    }
    found
}

/// A running HAProxy; dropping it ends it.
pub(super) struct Haproxy {
    /// The ports of two frontends. HAProxy speaks HTTP/1.1 with the routers behind the first, and HTTP/2
    /// behind the second.
    pub(super) ports: [u16; 2],
    folder: tempfile::TempDir,
    _child: Child,
}

impl Haproxy {
    /// Starts it in front of the routers with these ports, each with the one of its health listener.
    pub(super) async fn start(program: &Path, routers: [(u16, u16); 2]) -> Self {
        let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/recipes/haproxy/haproxy.cfg");
        let recipe = fs::read_to_string(recipe).expect("the recipe");
        let folder = tempfile::tempdir().expect("a folder");
        let ports = free_ports().await;
        let mut configuration = recipe;
        let replace = |text: &mut String, old: &str, new: &str| {
            assert_eq!(text.matches(old).count(), 1, "{old} in the recipe");
            *text = text.replace(old, new);
        };
        let socket = folder.path().join("admin.sock");
        replace(&mut configuration, "global\n", &format!("global\n    stats socket {}\n", socket.display()));
        replace(&mut configuration, "    bind :8080\n", &format!("    bind 127.0.0.1:{}\n", ports[0]));
        replace(&mut configuration, "check port 8080 ", "check ");
        for (number, (port, health)) in (1..).zip(routers) {
            let old = format!("server router-{number} 192.0.2.{number}:3000\n");
            let new = format!("server router-{number} 127.0.0.1:{port} port {health}\n");
            replace(&mut configuration, &old, &new);
        }
        let (_, sections) = configuration.split_once("\nfrontend ").expect("a frontend");
        let over_http2 = sections
            .replace("opencode\n", "opencode-http2\n")
            .replace("routers\n", "routers-http2\n")
            .replace(&format!(":{}\n", ports[0]), &format!(":{}\n", ports[1]))
            .replace("default-server ", "default-server proto h2 ");
        configuration.push_str(&format!("\nfrontend {over_http2}"));
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, configuration).expect("a configuration");
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(&file).stdin(Stdio::null()).kill_on_drop(true);
        let haproxy = Self { ports, folder, _child: command.spawn().expect("HAProxy starts") };
        for router in [1, 2] {
            haproxy.wait_until_up(router).await;
        }
        haproxy
    }

    /// Waits until HAProxy sends requests to this router.
    pub(super) async fn wait_until_up(&self, router: usize) {
        let name = format!("router-{router}");
        let is_up = async || {
            let state = self.ask("show servers state\n").await;
            let lines = state.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            // The columns of a server's name and state; 2 is running.
            lines.filter(|columns| columns.get(3) == Some(&name.as_str()) && columns[5] == "2").count() == 2
        };
        let up = async {
            while !is_up().await {
                sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(timeout(TIMEOUT, up).await.is_ok(), "{name} is not up");
    }

    /// Returns the answer to a command of HAProxy's runtime API; empty if it does not answer.
    pub(super) async fn ask(&self, command: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut socket) = UnixStream::connect(self.folder.path().join("admin.sock")).await {
            let _ = socket.write_all(command.as_bytes()).await;
            let _ = socket.read_to_string(&mut answer).await;
        }
        answer
    }
}

async fn free_ports() -> [u16; 2] {
    let bind = async || TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let listeners = [bind().await, bind().await];
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}

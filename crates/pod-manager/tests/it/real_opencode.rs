//! The manager with the real opencode, and a fake model that responds when the test lets it.
//!
//! The test needs the program that `make opencode` installs. It is ignored by default; `make test` runs it.

#![expect(clippy::disallowed_methods, reason = "a test reads whole answers of the servers that it started")]

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use pod_manager::{Credentials, Password, ViewState, memory::BackendCommand, memory::Restart};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
};

use crate::test_manager::{IDLE, TestManager, alice, repository};

const MESSAGE: &str = "Say \"hello\",\nplease: ümläut 🦀";

/// A server for chat completions, which holds its responses until `go` is set.
struct Model {
    address: SocketAddr,
    go: watch::Sender<bool>,
}

impl Model {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (go, gate) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut gate = gate.clone();
                tokio::spawn(async move {
                    let _ = stream.read(&mut vec![0; 1 << 16]).await;
                    let _ = gate.wait_for(|go| *go).await;
                    let chunk = |delta: &str, end: &str| {
                        format!(
                            "data: {{\"id\":\"a\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{end}}}]}}\n\n"
                        )
                    };
                    let said = chunk("{\"role\":\"assistant\",\"content\":\"Hello indeed\"}", "null");
                    let body = format!("{said}{}data: [DONE]\n\n", chunk("{}", "\"stop\""));
                    let head =
                        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
                    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { address, go }
    }
}

struct Opencode {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Opencode {
    async fn start(model: &Model, password: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (home, repo) = (folder.path().join("home"), folder.path().join("repo"));
        make_home(&home);
        for arguments in [&["init", "-q"] as &[_], &["commit", "-q", "--allow-empty", "-m", "first"]] {
            let mut git = Command::new("git");
            git.args(["-c", "user.name=t", "-c", "user.email=t@example.com"]).args(arguments);
            std::fs::create_dir_all(&repo).expect("a folder");
            assert!(git.current_dir(&repo).status().expect("git").success());
        }
        let port =
            TcpListener::bind(("127.0.0.1", 0)).await.expect("a port").local_addr().expect("it").port();
        let configuration = format!(
            r#"{{"model":"t/m","small_model":"t/m","provider":{{"t":{{"npm":"@ai-sdk/openai-compatible","name":"T","options":{{"baseURL":"http://{}/v1","apiKey":"x"}},"models":{{"m":{{"name":"M"}}}}}}}}}}"#,
            model.address
        );
        let child = Command::new(program())
            .args(["serve", "--hostname", "127.0.0.1", "--port", &port.to_string()])
            .current_dir(&repo)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &home)
            .env("OPENCODE_CONFIG_CONTENT", configuration)
            .env("OPENCODE_SERVER_PASSWORD", password)
            .env("OPENCODE_DISABLE_MODELS_FETCH", "1")
            .env("OPENCODE_DISABLE_AUTOUPDATE", "1")
            .env("OPENCODE_DISABLE_LSP_DOWNLOAD", "1")
            .env("OPENCODE_MODELS_PATH", home.join("models.json"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("opencode");
        let opencode = Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)), _folder: folder };
        let healthy = async {
            while opencode.get("/global/health", password).await.is_none() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), healthy).await.expect("opencode answers");
        opencode
    }

    async fn get(&self, path: &str, password: &str) -> Option<Value> {
        let client =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build().expect("one");
        let request =
            client.get(format!("http://{}{path}", self.address)).basic_auth("opencode", Some(password));
        request.send().await.ok()?.error_for_status().ok()?.json().await.ok()
    }
}

impl Drop for Opencode {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> PathBuf {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.opencode/bin/opencode");
    assert!(program.exists(), "there is no opencode: `make opencode` installs it");
    program.canonicalize().expect("it exists")
}

/// Creates a home in which opencode has nothing to download.
fn make_home(home: &Path) {
    let configuration = home.join(".config/opencode");
    std::fs::create_dir_all(configuration.join("node_modules")).expect("folders");
    let version = Command::new(program()).arg("--version").env("HOME", home).output().expect("opencode");
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let dependencies = format!(r#"{{"@opencode-ai/plugin":"{version}"}}"#);
    let package = format!(r#"{{"dependencies":{dependencies}}}"#);
    let lock = format!(
        r#"{{"name":"opencode","lockfileVersion":3,"requires":true,"packages":{{"":{{"dependencies":{dependencies}}}}}}}"#
    );
    std::fs::write(configuration.join("package.json"), package).expect("a file");
    std::fs::write(configuration.join("package-lock.json"), lock).expect("a file");
    std::fs::write(home.join("models.json"), "{}").expect("a file");
}

/// Returns the role and the text of every message in all conversations.
async fn messages(opencode: &Opencode, password: &str) -> Vec<(String, String)> {
    let mut said = Vec::new();
    let conversations = opencode.get("/session?roots=true", password).await.expect("conversations");
    for conversation in conversations.as_array().expect("a list") {
        let id = conversation["id"].as_str().expect("an id");
        let messages = opencode.get(&format!("/session/{id}/message"), password).await.expect("messages");
        for message in messages.as_array().expect("a list") {
            let text =
                message["parts"].as_array().expect("parts").iter().filter_map(|part| part["text"].as_str());
            let role = message["info"]["role"].as_str().expect("a role").to_owned();
            said.push((role, text.collect::<Vec<_>>().join("|")));
        }
    }
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real opencode; `make test` runs it"]
async fn a_real_opencode_gets_one_first_prompt_and_is_stopped_when_idle() {
    let password = "geheim";
    let model = Model::start().await;
    let opencode = Arc::new(Opencode::start(&model, password).await);
    let mut test = TestManager::new().await;
    test.backend.set_endpoint(opencode.address, Some(Password::new(password)));

    // The router is gone after each sending, before it could note it: three times.
    test.backend.refuse(|command| {
        (command == BackendCommand::MarkFirstPromptSent)
            .then(|| pod_manager::BackendError::Unavailable("gone".into()))
    });
    let created = test
        .manager
        .create(&alice(), repository("widgets", Some(MESSAGE)), Credentials::NONE)
        .await
        .expect("create");
    let hash = created.view.status.session.hash;
    for _ in 0..3 {
        test.eventually("it is sent", || test.backend.calls(BackendCommand::MarkFirstPromptSent, hash) > 0)
            .await;
        test.restart(Restart::ProcessesContinued).await;
    }
    test.backend.refuse_nothing();
    let seen =
        test.wait_for(hash, |view| view.state == ViewState::Running && view.status.first_prompt_sent).await;
    assert!(seen.busy, "its message is being answered");
    let entry = seen.landing_path.clone().expect("an entry");
    assert!(entry.contains("/session/ses_"), "{entry}");

    // Its agent is at work for as long as the model thinks. On a cold start opencode says so late.
    let at_work = async {
        while opencode
            .get("/session/status", password)
            .await
            .is_none_or(|status| status == serde_json::json!({}))
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), at_work).await.expect("the agent is at work");
    test.clock.advance(3 * IDLE);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(test.state(hash), ViewState::Running);

    model.go.send_replace(true);
    let seen = test.wait_for(hash, |view| !view.busy && view.title.is_some()).await;
    assert_eq!(seen.title.as_deref(), Some("Hello indeed"), "the model names it");
    let said = messages(&opencode, password).await;
    let expected = [("user", MESSAGE), ("assistant", "Hello indeed")];
    assert_eq!(
        said,
        expected.map(|(who, what)| (who.to_owned(), what.to_owned())),
        "sent once, answered once"
    );

    test.clock.advance(IDLE);
    test.wait_state(hash, ViewState::Stopped).await;
}

//! The API server restarts while a router is running. The test has a control plane of its own.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use pod_manager::{
    BackendError, Credentials, KubernetesBackend, Leadership, Manager, SessionBackend, SystemClock,
    WatchEvent,
    contract::WatchProbe,
    kubernetes::{settings::ElectionTiming, testing::kubeconfig},
    model::{Phase, StopReason},
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    cluster::{Cluster, TEST_TIMEOUT},
    contract::TestCluster,
    link::Link,
};
use crate::test_manager::alice;

/// A control plane that ends with the test.
struct ControlPlane {
    kubeconfig: PathBuf,
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cluster").join(name)
}

impl ControlPlane {
    /// Starts a control plane; `None` without a test cluster that can be controlled.
    #[expect(clippy::print_stderr, reason = "why a test is skipped")]
    async fn up() -> Option<Self> {
        let theirs = kubeconfig()?;
        if !theirs.with_file_name("control").exists() {
            eprintln!(
                "skipped: TEST_KUBECONFIG names a cluster whose API server can't be ended by tests/cluster/part"
            );
            return None;
        }
        let up = tokio::task::spawn_blocking(|| {
            let owner = std::process::id().to_string();
            Command::new(script("up"))
                .args(["control-plane", "--owner", &owner])
                .stderr(Stdio::inherit())
                .output()
        });
        let up = up.await.expect("no panic").expect("tests/cluster/up runs");
        assert!(up.status.success(), "tests/cluster/up");
        Some(Self { kubeconfig: String::from_utf8(up.stdout).expect("text").trim().into() })
    }

    /// Kills the API server, or starts it again.
    async fn api_server(&self, verb: &'static str) {
        let kubeconfig = self.kubeconfig.clone();
        let part = tokio::task::spawn_blocking(move || {
            Command::new(script("part")).arg(verb).arg(kubeconfig).arg("kube-apiserver").status()
        });
        assert!(part.await.expect("no panic").expect("tests/cluster/part runs").success());
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let _ = Command::new(script("down")).arg(&self.kubeconfig).status();
    }
}

/// Polls until the condition holds, for states without an event.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TEST_TIMEOUT, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_sessions_are_served_while_the_api_server_restarts() {
    let Some(plane) = ControlPlane::up().await else { return };
    let test = TestCluster::on(Cluster::create(&plane.kubeconfig).await);
    let link = Link::to(&plane.kubeconfig).await;
    let mut settings = test.cluster.settings.clone();
    settings.lease = ElectionTiming {
        retry_period: Duration::from_millis(200),
        renew_deadline: Duration::from_millis(700),
        lease_duration: Duration::from_secs(1),
    };
    let backend = KubernetesBackend::start_up(link.client.clone(), settings, Arc::new(SystemClock));
    let manager = Manager::new(
        backend.clone(),
        backend.clone(),
        Arc::new(SystemClock),
        pod_manager::ManagerSettings::default(),
    );
    let stop = CancellationToken::new();
    let managing = tokio::spawn(manager.clone().run(stop.clone()));
    let mut probe = WatchProbe::new(&*backend, TEST_TIMEOUT);
    let [one, two, three] = [(); 3].map(|()| test.session());
    let mut runs = Vec::new();
    for session in [&one, &two] {
        backend.start(session, Credentials::NONE).await.expect("start");
        runs.push(probe.wait_running(session.hash).await);
        eventually("it is open to its owner", || manager.route(&alice(), session.hash).is_ok()).await;
    }
    eventually("it leads", || backend.is_leader()).await;
    let reported = probe.history.len();

    plane.api_server("stop").await;
    let new = test.session();
    for done in [
        backend.start(&new, Credentials::NONE).await,
        backend.stop(one.hash, StopReason::Requested).await,
        backend.delete(one.hash).await,
        backend.touch(one.hash, std::time::UNIX_EPOCH + Duration::from_secs(1_900_000_000)).await,
    ] {
        let Err(BackendError::Unavailable(why)) = done else { panic!("{done:?}") };
        assert!(why.starts_with("the API server can't be reached: "), "{why}");
    }
    let refused = manager.stop(&alice(), one.hash).await.expect_err("the API server is down");
    assert_eq!(refused.to_string(), "the session backend is unavailable");
    eventually("without a Lease nobody is reaped", || !backend.is_leader()).await;
    for (session, run) in [&one, &two].into_iter().zip(&runs) {
        let endpoint = manager.route(&alice(), session.hash).expect("it is served");
        assert_eq!(endpoint, *run);
        tokio::net::TcpStream::connect(endpoint.address).await.expect("it answers");
    }

    plane.api_server("start").await;
    let begun = async {
        while backend.start(&new, Credentials::NONE).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(TEST_TIMEOUT, begun).await.expect("it continues by itself");
    probe.wait_running(new.hash).await;
    backend.stop(new.hash, StopReason::Requested).await.expect("stop");
    probe.wait_stopped(new.hash).await;
    backend.delete(new.hash).await.expect("delete");
    probe.wait_removed(new.hash).await;
    eventually("it leads again", || backend.is_leader()).await;

    // The watch's last version is too old for an API server that was restarted meanwhile.
    link.cut();
    let other = test.backend();
    let mut others = WatchProbe::new(&*other, TEST_TIMEOUT);
    other.start(&three, Credentials::NONE).await.expect("start");
    others.wait_running(three.hash).await;
    other.delete(two.hash).await.expect("delete");
    others.wait_removed(two.hash).await;
    plane.api_server("stop").await;
    plane.api_server("start").await;
    let client = test.cluster.router.clone();
    let answers = async {
        while client.apiserver_version().await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(TEST_TIMEOUT, answers).await.expect("the API server is back");
    link.take_calls();
    link.restore();
    probe.wait_running(three.hash).await;
    probe.wait_removed(two.hash).await;
    let lists = link.take_calls().iter().filter(|call| call.starts_with("LIST")).count();
    assert!(lists >= 2, "claims and Pods were listed again");

    for seen in &probe.history[reported..] {
        if let WatchEvent::Applied(seen) = seen
            && seen.session.hash == one.hash
        {
            assert_eq!(seen.phase, Phase::Running(runs[0].clone()), "it was not seen in the session");
        }
    }
    assert_eq!(manager.route(&alice(), one.hash).as_ref(), Ok(&runs[0]));
    stop.cancel();
    managing.await.expect("without a panic");
    other.shutdown().await;
    backend.shutdown().await;
}

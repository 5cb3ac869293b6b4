//! Ports on which sessions listen.

use std::{net::TcpListener, time::Duration};

use futures_util::StreamExt;
use pod_manager::{Endpoint, SessionBackend, contract::WatchProbe};
use tokio::time::timeout;

use super::harness::Local;

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_port_of_a_sessions_process_is_found_and_belongs_to_it_alone() {
    let local = Local::with_behavior("dev-server");
    let backend = local.backend().await;
    let mut probe = WatchProbe::new(&*backend, Duration::from_secs(60));
    let (one, other) = (local.session("origin", "main", None), local.session("origin", "release", None));
    let mut run = async |session: &pod_manager::Session| -> Endpoint {
        backend.start(session, pod_manager::Credentials::NONE).await.expect("a start");
        probe.wait_running(session.hash).await
    };
    let (one_runs, other_runs) = (run(&one).await, run(&other).await);
    let ports = async |hash, endpoint: &Endpoint| {
        let mut changes = backend.watch_ports(hash, endpoint);
        let found = async {
            loop {
                let ports = changes.next().await.expect("ports").listening;
                if !ports.is_empty() {
                    return ports;
                }
            }
        };
        timeout(Duration::from_secs(30), found).await.expect("a port is found")
    };
    let one_listens = ports(one.hash, &one_runs).await;
    let other_listens = ports(other.hash, &other_runs).await;
    // Not opencode's own, and not the other session's.
    assert_eq!((one_listens.len(), other_listens.len()), (1, 1), "{one_listens:?} {other_listens:?}");
    assert_ne!(one_listens[0].port, other_listens[0].port);
    assert!(one_listens[0].process.is_some());

    assert!(backend.owns_port(one.hash, one_listens[0].port).await);
    assert!(!backend.owns_port(one.hash, other_listens[0].port).await);
    // This test's own.
    let foreign = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = foreign.local_addr().expect("an address").port();
    assert!(!backend.owns_port(one.hash, port).await);
    drop(foreign);
    assert!(!backend.owns_port(one.hash, port).await, "nobody listens");
    backend.shutdown().await;
}

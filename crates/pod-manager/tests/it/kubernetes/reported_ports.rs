//! Ports that sessions report themselves, because their image has no agent.

use std::sync::Arc;

use futures_util::{StreamExt, stream::BoxStream};
use pod_manager::{
    Credentials, KubernetesBackend, SessionBackend, SessionPorts, SystemClock, contract::WatchProbe,
};
use tokio::time::timeout;

use super::{cluster::TEST_TIMEOUT, contract::TestCluster, link::Link};

/// Waits until the ports are these.
async fn wait_for(changes: &mut BoxStream<'static, SessionPorts>, expected: &[u16]) {
    let found = async {
        loop {
            let ports = changes.next().await.expect("ports");
            assert!(ports.relay.is_none());
            let ports: Vec<u16> = ports.listening.iter().map(|listening| listening.port).collect();
            if ports == expected {
                return;
            }
        }
    };
    timeout(TEST_TIMEOUT, found).await.expect("the ports are shown");
}

#[tokio::test]
async fn reported_ports_are_seen_by_every_router_and_end_with_the_run() {
    let Some(test) = TestCluster::new().await else { return };
    let links = [Link::new().await, Link::new().await];
    let [one, other]: [Arc<KubernetesBackend>; 2] = links.each_ref().map(|link| {
        KubernetesBackend::start_up(link.client.clone(), test.cluster.settings.clone(), Arc::new(SystemClock))
    });
    let session = test.session();
    let hash = session.hash;
    let mut probes = [&one, &other].map(|backend| WatchProbe::new(&**backend, TEST_TIMEOUT));
    one.start(&session, Credentials::NONE).await.expect("a start");
    let endpoint = probes[0].wait_running(hash).await;
    assert_eq!(probes[1].wait_running(hash).await.run_id, endpoint.run_id);
    let (mut of_one, mut of_other) = (one.watch_ports(hash, &endpoint), other.watch_ports(hash, &endpoint));
    wait_for(&mut of_one, &[]).await;
    // opencode's and the agent's own are left out.
    one.report_ports(hash, &[3000, 4094, 4096, 5173]).await.expect("a report");
    wait_for(&mut of_one, &[3000, 5173]).await;
    wait_for(&mut of_other, &[3000, 5173]).await;

    other.report_ports(hash, &[5173]).await.expect("a report");
    wait_for(&mut of_one, &[5173]).await;

    // The next run begins without.
    let mut next = endpoint.clone();
    next.run_id = "another run".into();
    wait_for(&mut one.watch_ports(hash, &next), &[]).await;
    for backend in [one, other] {
        backend.shutdown().await;
    }
}

#[tokio::test]
async fn a_report_of_a_session_that_does_not_run_changes_nothing() {
    let Some(test) = TestCluster::new().await else { return };
    let link = Link::new().await;
    let backend = KubernetesBackend::start_up(
        link.client.clone(),
        test.cluster.settings.clone(),
        Arc::new(SystemClock),
    );
    backend.report_ports(test.session().hash, &[5173]).await.expect("ignored");
    backend.shutdown().await;
}

//! Figures for the docs. Run it by name with `--ignored --nocapture`.

use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::cluster::{Cluster, hosts_of, routes_of};

#[tokio::test]
#[ignore = "prints figures; asserts nothing about time"]
async fn figures_of_calls_and_times() {
    let Some(cluster) = Cluster::find().await else { return };
    let calls = |what: &str| {
        let calls = cluster.stand_in.with(|model| model.calls().clone());
        eprintln!("{what}: {} calls of Cloudflare: {calls:?}", calls.values().sum::<u64>());
        cluster.stand_in.with(|model| model.reset_calls());
    };
    let operator = cluster.operator(&[]).await;
    cluster
        .wait("the first pass", async || operator.reason("CloudflareReconciled").await == "Reconciled")
        .await;
    calls("a start without sessions");
    let started = Instant::now();
    let hash = cluster.create_session(1).await;
    cluster.wait_routes(&routes_of(&hash)).await;
    eprintln!("claim to IngressRoutes: {:?}", started.elapsed());
    cluster.wait_hosts(&hosts_of(&hash)).await;
    eprintln!("claim to record and rule: {:?}", started.elapsed());
    let settled = "opencode_cloudflare_operator_passes_total{half=\"cloudflare\",outcome=\"ok\"}";
    cluster.wait("the pass", async || operator.metric(settled).await >= Some(2.0)).await;
    calls("a session created");
    cluster.delete_session(&hash).await;
    cluster.wait_hosts(&[]).await;
    cluster.wait("the pass", async || operator.metric(settled).await >= Some(3.0)).await;
    calls("a session deleted");
    assert_eq!(operator.terminate().await, 0);

    let hashes: Vec<String> =
        stream::iter(1..=1000).map(|number| cluster.create_session(number)).buffered(16).collect().await;
    cluster.stand_in.with(|model| model.reset_calls());
    let started = Instant::now();
    let operator = cluster.operator(&[]).await;
    let routes: Vec<String> = hashes.iter().flat_map(|hash| routes_of(hash)).collect();
    let hosts: Vec<String> = hashes.iter().flat_map(|hash| hosts_of(hash)).collect();
    tokio::join!(
        async {
            cluster.wait_routes(&routes).await;
            eprintln!("1000 sessions, IngressRoutes after {:?}", started.elapsed());
        },
        async {
            cluster.wait_hosts(&hosts).await;
            eprintln!("1000 sessions, records and rules after {:?}", started.elapsed());
        }
    );
    let ok = async || operator.reason("CloudflareReconciled").await == "Reconciled";
    cluster.wait("the pass", ok).await;
    calls("a start with 1000 sessions that are new");
    eprintln!("memory: {}", operator.status("VmHWM"));
    assert_eq!(operator.terminate().await, 0);
    let operator = cluster.operator(&[]).await;
    cluster.wait("the pass", async || operator.reason("CloudflareReconciled").await == "Reconciled").await;
    calls("a start with 1000 sessions that are published");
    eprintln!("memory: {}", operator.status("VmHWM"));
    let written = operator.metric("opencode_cloudflare_operator_kubernetes_calls_total").await;
    eprintln!("writes to the API server at that start: {}", written.unwrap_or(0.0));
}

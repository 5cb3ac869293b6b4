//! Several operators: one writes.

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::DeleteParams};

use super::cluster::{Cluster, hosts_of, routes_of};

#[tokio::test]
async fn of_two_operators_one_writes_and_the_other_takes_over() {
    let Some(cluster) = Cluster::find().await else { return };
    let leader = cluster.operator(&[]).await;
    cluster.wait("the first one leads", async || leader.readyz().await.1["leader"] == true).await;
    let standby = cluster.operator(&[]).await;
    let first = cluster.create_session(1).await;
    cluster.wait_routes(&routes_of(&first)).await;
    cluster.wait_hosts(&hosts_of(&first)).await;
    cluster.wait("ready", async || standby.readyz().await.0 == 200).await;
    let (_, body) = standby.readyz().await;
    assert_eq!((&body["ready"], &body["leader"]), (&true.into(), &false.into()), "a standby is ready");
    assert_eq!(standby.reason("CloudflareReconciled").await, "Standby");
    let calls = |text: &str| text.lines().any(|line| line.contains("_calls_total{"));
    assert!(calls(&leader.get("/metrics").await.1), "the leader makes calls");
    assert!(!calls(&standby.get("/metrics").await.1), "the standby makes none");

    // In good order, it releases the Lease, and the other one leads at once.
    assert_eq!(leader.terminate().await, 0);
    let second = cluster.create_session(2).await;
    cluster.wait_routes(&[routes_of(&first), routes_of(&second)].concat()).await;
    cluster.wait_hosts(&[hosts_of(&first), hosts_of(&second)].concat()).await;
    assert_eq!(standby.readyz().await.1["leader"], true);
    assert_eq!(standby.terminate().await, 0);
    let leases: Api<Lease> = cluster.namespace.api();
    let lease = leases.get("opencode-cloudflare-operator").await.expect("a lease");
    assert_eq!(lease.spec.expect("a spec").holder_identity.as_deref(), Some(""));
}

#[tokio::test]
async fn a_killed_leader_is_replaced_and_what_it_missed_is_made_up_for() {
    let Some(cluster) = Cluster::find().await else { return };
    let leader = cluster.operator(&[]).await;
    cluster.wait("the first one leads", async || leader.readyz().await.1["leader"] == true).await;
    let first = cluster.create_session(1).await;
    cluster.wait_hosts(&hosts_of(&first)).await;
    let standby = cluster.operator(&[]).await;
    cluster.wait("ready", async || standby.readyz().await.0 == 200).await;
    leader.kill().await;
    let second = cluster.create_session(2).await;
    cluster.delete_session(&first).await;
    let route = &routes_of(&first)[0];
    cluster.routes().delete(route, &DeleteParams::default()).await.expect("a deletion");
    cluster.wait_routes(&routes_of(&second)).await;
    cluster.wait_hosts(&hosts_of(&second)).await;
    assert_eq!(standby.readyz().await.1["leader"], true);
}

//! `--once` and `--dry-run`.

use cloudflare_operator::testing::{Fault, FaultKind};
use serde_json::json;

use super::cluster::{Cluster, hosts_of, routes_of};

#[tokio::test]
async fn a_dry_run_prints_the_actions_and_writes_nothing() {
    let Some(cluster) = Cluster::find().await else { return };
    let hash = cluster.create_session(1).await;
    for arguments in [&["--dry-run"][..], &["--once", "--dry-run"]] {
        let (code, output, log) = cluster.run(arguments, &[]).await;
        assert_eq!(code, 0, "{log}");
        for line in [
            format!("create IngressRoute opencode-session-{hash}-oc-app"),
            format!("create the DNS record {hash}-oc.example.org"),
            format!("add the tunnel rule of attach-{hash}-oc.example.org"),
        ] {
            assert!(output.contains(&line), "{line} is not in\n{output}");
        }
        assert_eq!(cluster.route_names().await, Vec::<String>::new());
        assert_eq!((cluster.record_names(), cluster.rule_hosts()), (vec![], vec![]));
    }
}

#[tokio::test]
async fn once_reconciles_and_fails_if_anything_is_left() {
    let Some(cluster) = Cluster::find().await else { return };
    let hash = cluster.create_session(1).await;
    let (code, output, log) = cluster.run(&["--once"], &[]).await;
    assert_eq!(code, 0, "{output}{log}");
    assert!(output.contains("create IngressRoute"), "{output}");
    assert_eq!(cluster.route_names().await.len(), routes_of(&hash).len());
    cluster.wait_hosts(&hosts_of(&hash)).await;
    let (code, output, _) = cluster.run(&["--once"], &[]).await;
    assert_eq!(code, 0);
    assert!(output.contains("nothing to change in the cluster"), "{output}");

    let other = cluster.create_session(2).await;
    let record = json!({ "type": "A", "name": format!("{other}-oc.example.org"), "content": "192.0.2.1" });
    cluster.stand_in.with(|model| model.add_record(&record)).expect("a record");
    let (code, _, log) = cluster.run(&["--once"], &[]).await;
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("Something is left") && log.contains("somebody else"), "{log}");

    cluster.stand_in.add_fault(Fault::status(500).times(100));
    let (code, _, log) = cluster.run(&["--once"], &[]).await;
    assert_eq!(code, 1);
    assert!(log.contains("500"), "{log}");
    cluster.stand_in.clear_faults();
    cluster.stand_in.add_fault(Fault::new(FaultKind::Garbage).times(100));
    assert_eq!(cluster.run(&["--dry-run"], &[]).await.0, 1, "what can't be read is a failure");
}

#[tokio::test]
async fn once_does_not_write_beside_an_operator_that_leads() {
    let Some(cluster) = Cluster::find().await else { return };
    let operator = cluster.operator(&[]).await;
    cluster.wait("it leads", async || operator.readyz().await.1["leader"] == true).await;
    let (code, _, log) = cluster.run(&["--once"], &[]).await;
    assert_eq!(code, 1);
    assert!(log.contains("Another operator leads"), "{log}");
}

//! Records and rules follow the claims; Cloudflare's faults do no harm.

use cloudflare_operator::testing::{Fault, FaultKind, Seed};
use serde_json::json;

use super::cluster::{Cluster, hosts_of, routes_of};

#[tokio::test]
async fn records_and_rules_follow_the_claims_and_foreign_ones_stay() {
    let Some(cluster) = Cluster::find().await else { return };
    cluster.stand_in.with(|model| {
        let config = json!({
            "ingress": [
                { "hostname": "mail.example.org", "service": "http://mail:25", "originRequest": { "a": 1 } },
                { "service": "http_status:404" },
            ],
            "warp-routing": { "enabled": true },
        });
        model.set_config(config).expect("a document");
        let record = json!({ "type": "A", "name": "mail.example.org", "content": "192.0.2.1" });
        model.add_record(&record).expect("a record");
    });
    let with_mail = |hashes: &[&String]| {
        let hosts = hashes.iter().flat_map(|hash| hosts_of(hash));
        hosts.chain(["mail.example.org".to_owned()]).collect::<Vec<_>>()
    };
    let operator = cluster.operator(&[]).await;
    let first = cluster.create_session(1).await;
    cluster.wait_hosts(&with_mail(&[&first])).await;
    let second = cluster.create_session(2).await;
    cluster.wait_hosts(&with_mail(&[&first, &second])).await;
    cluster.delete_session(&first).await;
    cluster.wait_hosts(&with_mail(&[&second])).await;
    cluster.wait("done", async || operator.reason("CloudflareReconciled").await == "Reconciled").await;
    assert_eq!(operator.metric("opencode_cloudflare_operator_objects{kind=\"records\"}").await, Some(2.0));
    cluster.delete_session(&second).await;
    cluster.wait_hosts(&with_mail(&[])).await;
    let config = cluster.stand_in.with(|model| model.config().clone());
    assert_eq!(config["ingress"][0]["originRequest"], json!({ "a": 1 }));
    assert_eq!(config["warp-routing"], json!({ "enabled": true }));
    assert!(!operator.log().contains("stand-in-token"), "the token is not logged");
}

#[tokio::test]
async fn an_outage_at_the_start_is_a_condition_and_heals() {
    let Some(cluster) = Cluster::find().await else { return };
    let hash = cluster.create_session(1).await;
    cluster.stand_in.add_fault(Fault::new(FaultKind::Drop).times(3));
    let operator = cluster.operator(&[]).await;
    cluster.wait_routes(&routes_of(&hash)).await;
    cluster
        .wait("a condition", async || operator.reason("CloudflareReconciled").await == "unreachable")
        .await;
    let (status, body) = operator.readyz().await;
    assert_eq!(status, 200, "an outage of Cloudflare does not make the operator unready: {body}");
    assert_eq!(operator.get("/healthz").await, (200, "ok\n".to_owned()));
    cluster.wait_hosts(&hosts_of(&hash)).await;
    cluster.wait("healed", async || operator.reason("CloudflareReconciled").await == "Reconciled").await;
    let failed = "opencode_cloudflare_operator_passes_total{half=\"cloudflare\",outcome=\"unreachable\"}";
    assert!(operator.metric(failed).await >= Some(1.0));
}

#[tokio::test]
async fn a_wrong_token_is_a_condition_without_a_storm() {
    let Some(cluster) = Cluster::find().await else { return };
    let operator = cluster.operator(&[("CF_API_TOKEN", "a-wrong-token")]).await;
    cluster
        .wait("a condition", async || operator.reason("CloudflareReconciled").await == "unauthorized")
        .await;
    // Changes do not shorten the pause.
    for number in 1..=10 {
        let hash = cluster.create_session(number).await;
        let routes = routes_of(&hash);
        cluster.wait("routes all the same", async || cluster.route(&routes[0]).await.is_some()).await;
    }
    let calls: u64 = cluster.stand_in.with(|model| model.calls().values().sum());
    assert!(calls <= 3, "{calls} calls");
    assert_eq!(operator.readyz().await.0, 200);
    assert!(operator.metric("opencode_cloudflare_operator_failing{half=\"cloudflare\"}").await == Some(1.0));
    assert!(!operator.log().contains("a-wrong-token"));
}

#[tokio::test]
async fn retry_after_is_respected() {
    let Some(cluster) = Cluster::find().await else { return };
    cluster.create_session(1).await;
    let fault = FaultKind::Status { status: 429, retry_after: Some(3600), code: 971 };
    cluster.stand_in.add_fault(Fault::new(fault));
    let operator = cluster.operator(&[]).await;
    cluster
        .wait("a condition", async || operator.reason("CloudflareReconciled").await == "rate_limited")
        .await;
    let backoff = operator.metric("opencode_cloudflare_operator_backoff_seconds{half=\"cloudflare\"}").await;
    assert!(backoff >= Some(3590.0), "{backoff:?}");
    assert_eq!(cluster.stand_in.with(|model| model.calls().values().sum::<u64>()), 1);
}

#[tokio::test]
async fn an_operator_that_is_killed_in_the_middle_leaves_nothing_behind() {
    let Some(cluster) = Cluster::find().await else { return };
    let hashes = [cluster.create_session(1).await, cluster.create_session(2).await];
    // The first write has its effect, but its answer never comes.
    cluster.stand_in.add_fault(Fault::new(FaultKind::Hang).at("write_tunnel_config").after_effect());
    let operator = cluster.operator(&[]).await;
    let is_written = || !cluster.rule_hosts().is_empty() || cluster.stand_in.faults().is_empty();
    cluster.wait("in the middle", async || is_written()).await;
    operator.kill().await;
    cluster.delete_session(&hashes[0]).await;
    let _next = cluster.operator(&[]).await;
    cluster.wait_hosts(&hosts_of(&hashes[1])).await;
    cluster.wait_routes(&routes_of(&hashes[1])).await;
}

/// The homelab of the TypeScript operator: a proxied wildcard record, and rules in cloudflared's own file.
#[tokio::test]
async fn a_local_tunnel_with_a_wildcard_record_needs_nothing_but_routes() {
    let seed = Seed { config_src: "local".to_owned(), ..Seed::default() };
    let Some(cluster) = Cluster::with_seed(seed).await else { return };
    let record = cluster.stand_in.with(|model| {
        let content = format!("{}.cfargotunnel.com", model.seed.tunnel_id);
        let record = json!({ "type": "CNAME", "name": "*.example.org", "content": content, "proxied": true });
        model.add_record(&record)
    });
    record.expect("a record");
    let hash = cluster.create_session(1).await;
    let operator = cluster.operator(&[]).await;
    cluster.wait_routes(&routes_of(&hash)).await;
    cluster.wait("done", async || operator.reason("CloudflareReconciled").await == "Reconciled").await;
    let (_, body) = operator.readyz().await;
    let notes = body["conditions"][3]["notes"].to_string();
    assert!(notes.contains("configured locally") && notes.contains("*.example.org"), "{body}");
    assert_eq!(
        operator.metric("opencode_cloudflare_operator_conflicts{half=\"cloudflare\"}").await,
        Some(0.0)
    );
    assert_eq!(cluster.record_names(), ["*.example.org"]);
    let writes = cluster.stand_in.with(|model| model.calls().get("batch_records").copied());
    assert_eq!(writes, None);
    assert_eq!(operator.terminate().await, 0);
    assert_eq!(cluster.run(&["--once"], &[]).await.0, 0, "nothing is left");
}

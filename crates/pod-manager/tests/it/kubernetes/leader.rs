//! Leader election with the Lease of a real API server.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use pod_manager::{
    SystemClock,
    kubernetes::{
        leader::LeaderElector,
        settings::{ElectionTiming, LEASE_NAME},
    },
};
use tokio::time::{Instant, sleep, timeout};

use super::cluster::{Cluster, TEST_TIMEOUT, cluster};

/// The shortest times that a Lease in whole seconds allows.
const QUICK: ElectionTiming = ElectionTiming {
    retry_period: Duration::from_millis(200),
    renew_deadline: Duration::from_millis(700),
    lease_duration: Duration::from_secs(1),
};

impl Cluster {
    fn router(&self, who: &str) -> LeaderElector {
        let mut settings = self.settings.clone();
        (settings.identity, settings.lease) = (who.to_owned(), QUICK);
        LeaderElector::start(&self.client, settings.election(), Arc::new(SystemClock))
    }
}

#[tokio::test]
async fn one_router_leads_and_another_replaces_it_at_once_or_in_time() {
    let Some(cluster) = cluster().await else { return };
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), &cluster.settings.namespace);
    let holder =
        async || leases.get(LEASE_NAME).await.expect("a lease").spec.and_then(|spec| spec.holder_identity);
    let mut routers: Vec<_> =
        ["one", "two", "three"].into_iter().map(|who| (who, cluster.router(who))).collect();
    for kind_of_end in ["in good order", "killed"] {
        let begun = Instant::now();
        let held = loop {
            assert!(begun.elapsed() < TEST_TIMEOUT, "nobody took it");
            if let Some(place) = routers.iter().position(|(_, router)| router.is_leader()) {
                break place;
            }
            sleep(Duration::from_millis(10)).await;
        };
        for _ in 0..100 {
            let holders = routers.iter().filter(|(_, router)| router.is_leader()).count();
            assert!(holders <= 1, "{holders} at once");
            sleep(Duration::from_millis(10)).await;
        }
        let (who, router) = routers.swap_remove(held);
        assert_eq!(holder().await.as_deref(), Some(who), "what is believed is so");
        if kind_of_end == "in good order" {
            router.release().await;
            // Nobody holds it, or already another one.
            let held_by = holder().await.expect("the Lease names a holder or nobody");
            assert!(
                held_by.is_empty() || routers.iter().any(|(other, _)| *other == held_by),
                "{who} released the Lease, and {held_by} holds it"
            );
        }
        drop(router);
    }
    let (who, last) = &routers[0];
    timeout(TEST_TIMEOUT, last.wait_leader()).await.expect("the last one holds it");
    assert_eq!(holder().await.as_deref(), Some(*who));
}

#[tokio::test]
async fn a_deleted_lease_never_makes_two_leaders() {
    let Some(cluster) = cluster().await else { return };
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), &cluster.settings.namespace);
    let (one, two) = (cluster.router("one"), cluster.router("two"));
    let begun = Instant::now();
    let mut removed = 0;
    while removed < 5 {
        assert!(begun.elapsed() < TEST_TIMEOUT, "it was not taken again");
        let holders = [&one, &two].into_iter().filter(|router| router.is_leader()).count();
        assert!(holders <= 1, "two at once");
        // Both have read the Lease: a router that never saw it can't know that it existed.
        sleep(QUICK.retry_period * 4).await;
        if holders == 1 && leases.delete(LEASE_NAME, &Default::default()).await.is_ok() {
            removed += 1;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

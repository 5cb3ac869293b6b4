//! What sessions use, from the cluster's metrics API (`metrics.k8s.io`, served by metrics-server).
//!
//! <https://kubernetes.io/docs/tasks/debug/debug-cluster/resource-metrics-pipeline/>

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};
use parking_lot::Mutex;
use serde_json::Value;
use session_key::SessionHash;
use tokio::time::timeout;

/// metrics-server measures every 15 s; asking more often gives the same answer.
const MAX_AGE: Duration = Duration::from_secs(10);
/// An answer for an administrator's page is not worth waiting longer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The newest answer of the metrics API.
#[derive(Default)]
pub(super) struct PodMetrics {
    answer: Mutex<Option<(Instant, HashMap<SessionHash, Resources>)>>,
    /// One request at a time; who waits gets its answer.
    asking: tokio::sync::Mutex<()>,
    /// A failure is logged once, until a request succeeds.
    failure_logged: Mutex<bool>,
}

/// What the Pod of a session uses, as far as it is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Resources {
    pub(super) cpu_millicores: Option<u64>,
    pub(super) memory_bytes: Option<u64>,
}

impl PodMetrics {
    /// Returns what the sessions of the namespace use. It never fails: what can't be asked is missing.
    pub(super) async fn resources(
        &self,
        client: &Client,
        namespace: &str,
    ) -> HashMap<SessionHash, Resources> {
        let newest = || {
            let answer = self.answer.lock();
            answer.as_ref().filter(|(at, _)| at.elapsed() < MAX_AGE).map(|(_, answer)| answer.clone())
        };
        if let Some(answer) = newest() {
            return answer;
        }
        let _asking = self.asking.lock().await;
        if let Some(answer) = newest() {
            return answer;
        }
        let answer = match timeout(TIMEOUT, ask(client, namespace)).await {
            Ok(Ok(answer)) => {
                *self.failure_logged.lock() = false;
                answer
            }
            Ok(Err(error)) => self.without(&error.to_string()),
            Err(_) => self.without("it does not answer"),
        };
        *self.answer.lock() = Some((Instant::now(), answer.clone()));
        answer
    }

    fn without(&self, error: &str) -> HashMap<SessionHash, Resources> {
        if !std::mem::replace(&mut *self.failure_logged.lock(), true) {
            tracing::warn!(error, "the metrics API can't be asked; administrators see no resources");
        }
        HashMap::new()
    }
}

async fn ask(client: &Client, namespace: &str) -> Result<HashMap<SessionHash, Resources>, kube::Error> {
    let kind = GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", "PodMetrics");
    let resource = ApiResource::from_gvk_with_plural(&kind, "pods");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    Ok(api.list(&ListParams::default()).await?.iter().filter_map(resources_of).collect())
}

/// Adds up the containers of a session's Pod; a Pod of anything else is left out.
fn resources_of(metrics: &DynamicObject) -> Option<(SessionHash, Resources)> {
    let hash = metrics.metadata.name.as_deref()?.strip_prefix("opencode-session-")?;
    let hash = SessionHash::parse(hash).ok()?;
    let containers = metrics.data.get("containers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let sum = |name: &str, read: fn(&str) -> Option<u64>| {
        let values = containers.iter().filter_map(|container| read(container["usage"][name].as_str()?));
        values.reduce(u64::saturating_add)
    };
    Some((hash, Resources { cpu_millicores: sum("cpu", millicores), memory_bytes: sum("memory", bytes) }))
}

/// Reads a quantity of processor time as thousandths of a core, rounded up.
fn millicores(quantity: &str) -> Option<u64> {
    let (number, divisor) = match quantity.as_bytes().last()? {
        b'n' => (&quantity[..quantity.len() - 1], 1_000_000),
        b'u' => (&quantity[..quantity.len() - 1], 1_000),
        b'm' => (&quantity[..quantity.len() - 1], 1),
        _ => return quantity.parse::<u64>().ok()?.checked_mul(1000),
    };
    Some(number.parse::<u64>().ok()?.div_ceil(divisor))
}

/// Reads a quantity of memory as bytes.
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>
fn bytes(quantity: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 10] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        // Only after the others: it is the end of none of them.
        ("m", 0),
        ("", 1),
    ];
    let (number, unit) = UNITS.iter().find_map(|(name, unit)| Some((quantity.strip_suffix(name)?, *unit)))?;
    let number = number.parse::<u64>().ok()?;
    if unit == 0 { Some(number / 1000) } else { number.checked_mul(unit) }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
    };

    use http::{Request, Response};
    use kube::client::Body;

    use super::*;

    /// Returns a client of an API server that gives this answer, and the number of its requests.
    fn api_server(status: u16, answer: &'static str) -> (Client, Arc<AtomicUsize>) {
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = requests.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            assert_eq!(request.uri().path(), "/apis/metrics.k8s.io/v1beta1/namespaces/opencode/pods");
            counted.fetch_add(1, Relaxed);
            let response = Response::builder().status(status).body(Body::from(answer.as_bytes().to_vec()));
            async move { Ok::<_, Infallible>(response.expect("a response")) }
        });
        (Client::new(service, "opencode"), requests)
    }

    #[tokio::test]
    async fn the_metrics_api_is_asked_once_in_a_while_however_many_administrators_look() {
        let (client, requests) = api_server(
            200,
            r#"{"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}, "items": [
                {"metadata": {"name": "opencode-session-a48da0606867"},
                 "containers": [{"name": "opencode", "usage": {"cpu": "7m", "memory": "2Ki"}}]}]}"#,
        );
        let metrics = PodMetrics::default();
        let ask = || metrics.resources(&client, "opencode");
        let expected = Resources { cpu_millicores: Some(7), memory_bytes: Some(2048) };
        let (one, other) = tokio::join!(ask(), ask());
        assert_eq!(one.values().collect::<Vec<_>>(), [&expected]);
        assert_eq!((one, requests.load(Relaxed)), (other, 1));
        ask().await;
        assert_eq!(requests.load(Relaxed), 1);
    }

    #[tokio::test]
    async fn a_cluster_without_metrics_is_no_failure() {
        for (status, answer) in [(404, "404 page not found"), (403, "{}"), (200, "no JSON"), (503, "")] {
            let (client, requests) = api_server(status, answer);
            let metrics = PodMetrics::default();
            for _ in 0..2 {
                assert!(metrics.resources(&client, "opencode").await.is_empty(), "{status}");
            }
            assert_eq!(requests.load(Relaxed), 1, "a missing API is not asked for each page either");
        }
    }

    #[test]
    fn quantities_are_read_in_every_form_that_metrics_servers_use() {
        for (text, expected) in
            [("1500n", 1), ("250u", 1), ("12m", 12), ("12345678n", 13), ("2", 2000), ("", 0), ("x", 0)]
        {
            assert_eq!(millicores(text).unwrap_or_default(), expected, "{text}");
        }
        for (text, expected) in [
            ("315000Ki", 322_560_000),
            ("2Mi", 2 << 20),
            ("1Gi", 1 << 30),
            ("7", 7),
            ("5k", 5_000),
            ("9000m", 9),
            ("-1", 0),
            ("18446744073709551615Ki", 0),
        ] {
            assert_eq!(bytes(text).unwrap_or_default(), expected, "{text}");
        }
    }

    #[test]
    fn the_containers_of_a_sessions_pod_are_added_up_and_other_pods_left_out() {
        let items = serde_json::json!([
            {"metadata": {"name": "opencode-session-a48da0606867"}, "containers": [
                {"name": "opencode", "usage": {"cpu": "100m", "memory": "300Mi"}},
                {"name": "chromium", "usage": {"cpu": "1500000n", "memory": "1024Ki"}}]},
            {"metadata": {"name": "opencode-session-0123456789ab"}, "containers": []},
            {"metadata": {"name": "coredns-1"}, "containers": [{"usage": {"cpu": "1", "memory": "1Ki"}}]}]);
        let items: Vec<DynamicObject> = serde_json::from_value(items).expect("objects");
        let all: HashMap<_, _> = items.iter().filter_map(resources_of).collect();
        let of = |hash| all.get(&SessionHash::parse(hash).expect("a hash")).copied();
        let first = of("a48da0606867").expect("its resources");
        assert_eq!((first.cpu_millicores, first.memory_bytes), (Some(102), Some(301 << 20)));
        let second = of("0123456789ab").expect("a Pod that was not measured yet");
        assert_eq!((second.cpu_millicores, second.memory_bytes), (None, None));
        assert_eq!(all.len(), 2);
    }
}

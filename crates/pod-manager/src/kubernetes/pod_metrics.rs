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
    use super::*;

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

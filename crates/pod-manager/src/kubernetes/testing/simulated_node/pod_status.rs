//! What kubelet writes into a Pod's status.

use serde_json::{Value, json};

use crate::clock::{Clock, SystemClock};

/// Returns a Pod's status. `states` may have the states of the containers `init` and `opencode`, the latter's
/// count of `restarts`, and the Pod's `ip`.
#[must_use]
pub fn pod_status(states: &Value) -> Value {
    let container = |name: &str, state: &Value| {
        json!([{
            "name": name, "image": "registry.example/session:1", "imageID": "", "ready": state.get("running").is_some(),
            "restartCount": states["restarts"].as_u64().unwrap_or(0), "state": state,
        }])
    };
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": now() });
    let mut status = json!({
        "phase": if states.get("ip").is_some() { "Running" } else { "Pending" },
        "conditions": [condition("PodScheduled"), condition("PodReadyToStartContainers")],
    });
    if let Some(state) = states.get("init") {
        status["initContainerStatuses"] = container("git-init", state);
    }
    if let Some(state) = states.get("opencode") {
        status["containerStatuses"] = container("opencode", state);
    }
    if let Some(ip) = states.get("ip") {
        status["podIP"] = ip.clone();
        status["podIPs"] = json!([{ "ip": ip }]);
    }
    status
}

/// Returns the present time as kubelet writes it: in whole seconds.
///
/// # Panics
/// If the machine's clock is outside of the years that can be written.
#[must_use]
pub fn now() -> String {
    let now = jiff::Timestamp::try_from(SystemClock.now()).expect("a time");
    jiff::Timestamp::from_second(now.as_second()).expect("a time").to_string()
}

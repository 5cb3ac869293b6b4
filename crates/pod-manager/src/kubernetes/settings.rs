//! The operator's settings for session Pods and leader election.

use std::{collections::BTreeMap, time::Duration};

use super::objects::patch::PodPatch;
use crate::session_addresses::SessionAddresses;

/// The name of the Lease that routers compete for.
pub const LEASE_NAME: &str = "opencode-router-reaper";

/// The operator's settings for session Pods. [`KubernetesSettings::new`] has the defaults of
/// docs/configuration.md.
#[derive(Debug, Clone, PartialEq)]
pub struct KubernetesSettings {
    /// The namespace of the sessions (`OPENCODE_NAMESPACE`).
    pub namespace: String,
    /// The session image (`OPENCODE_IMAGE`): opencode, git and a POSIX shell.
    pub image: String,
    /// `IMAGE_PULL_SECRET_NAME`.
    pub image_pull_secret: Option<String>,
    /// `STORAGE_CLASS`; `None`: the cluster's default.
    pub storage_class: Option<String>,
    /// `STORAGE_SIZE`, a Kubernetes quantity.
    pub storage_size: String,
    /// `API_KEY_SECRET_NAME`: its keys become variables of the session.
    pub api_key_secret: String,
    /// `CONFIG_MAP_NAME`: mounted read-only at `/home/opencode/.opencode`.
    pub config_map: String,
    /// `USER_NAMESPACES`: `hostUsers: false`.
    pub user_namespaces: bool,
    /// Requests and limits of the opencode container, and of an init container that clones.
    pub resources: ContainerResources,
    /// `EPHEMERAL_STORAGE_SIZE`, a Kubernetes quantity: how much a session may write outside of its volume,
    /// in `/tmp` and in the container's own files; `None`: without a limit.
    pub ephemeral_storage: Option<String>,
    /// The public addresses of sessions; with them, a session knows its own names.
    pub addresses: Option<SessionAddresses>,
    /// `OPENCODE_ROUTER_URL`: where sessions reach the router, for their reports.
    pub router_url: Option<String>,
    /// The address of the GitHub that users' tokens are for: git sends them nowhere else.
    pub github_url: String,
    /// `CHROMIUM_IMAGE`: adds a browser for the agent to each Pod.
    pub chromium_image: Option<String>,
    /// Further variables of the session; no secrets.
    pub environment: BTreeMap<String, String>,
    /// `POD_METRICS`: whether the metrics API is asked what sessions use, for administrators.
    pub pod_metrics: bool,
    /// `POD_PATCH_FILE`: merged into each Pod.
    pub pod_patch: Option<PodPatch>,
    /// How long opencode may take to be healthy after its container has started; it takes seconds.
    pub ready_timeout: Duration,
    /// Identifies this process among all routers.
    pub identity: String,
    /// The times of the leader election.
    pub lease: ElectionTiming,
}

/// Requests and limits, as Kubernetes quantities by resource name (`cpu`, `memory`).
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerResources {
    /// What the scheduler reserves.
    pub requests: BTreeMap<String, String>,
    /// What the container can't exceed.
    pub limits: BTreeMap<String, String>,
}

impl Default for ContainerResources {
    /// opencode needs 315 MB at start and 700 MB in use; the rest is for what the agent runs. CPU has no
    /// limit, since a limit throttles even on an idle node.
    fn default() -> Self {
        let list =
            |list: &[(&str, &str)]| list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self { requests: list(&[("cpu", "100m"), ("memory", "512Mi")]), limits: list(&[("memory", "4Gi")]) }
    }
}

impl KubernetesSettings {
    /// Returns the defaults, with the one value that has none.
    #[must_use]
    pub fn new(image: &str) -> Self {
        Self {
            namespace: "opencode".into(),
            image: image.into(),
            image_pull_secret: None,
            storage_class: None,
            storage_size: "10Gi".into(),
            api_key_secret: "opencode-api-keys".into(),
            config_map: "opencode-config-dir".into(),
            user_namespaces: false,
            resources: ContainerResources::default(),
            ephemeral_storage: Some("8Gi".into()),
            addresses: None,
            router_url: None,
            github_url: "https://github.com".into(),
            chromium_image: None,
            environment: BTreeMap::new(),
            pod_metrics: false,
            pod_patch: None,
            ready_timeout: Duration::from_secs(180),
            identity: format!("opencode-router-{:016x}", rand::random::<u64>()),
            lease: ElectionTiming::default(),
        }
    }
}

/// Which Lease a process competes for, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElectionSettings {
    /// The Lease's name.
    pub lease_name: String,
    /// The Lease's namespace.
    pub namespace: String,
    /// The value of `app.kubernetes.io/managed-by` on a Lease that this process creates.
    pub managed_by: String,
    /// Identifies this process among all candidates.
    pub identity: String,
    /// The times of the election.
    pub timing: ElectionTiming,
}

/// The times of the leader election, in client-go's words. By default, the leader renews the Lease every 3 s
/// and leads for at most 10 s without a renewal, and another router takes an expired Lease after 15 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElectionTiming {
    /// The time between two attempts to acquire or renew the Lease.
    pub retry_period: Duration,
    /// How long a leader leads without a renewal.
    pub renew_deadline: Duration,
    /// How long a Lease is unchanged before another router takes it: whole seconds, and longer than
    /// `renew_deadline`.
    pub lease_duration: Duration,
}

impl Default for ElectionTiming {
    fn default() -> Self {
        Self {
            retry_period: Duration::from_secs(3),
            renew_deadline: Duration::from_secs(10),
            lease_duration: Duration::from_secs(15),
        }
    }
}

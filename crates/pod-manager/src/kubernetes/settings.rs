//! What an operator decides about session Pods and leader election.

use std::{collections::BTreeMap, time::Duration};

use super::objects::patch::PodPatch;

/// What an operator decides about session Pods. [`KubernetesSettings::new`] has the defaults of docs/configuration.md.
#[derive(Debug, Clone, PartialEq)]
pub struct KubernetesSettings {
    /// Where sessions live (`OPENCODE_NAMESPACE`).
    pub namespace: String,
    /// The session image (`OPENCODE_IMAGE`): opencode, git and a POSIX shell.
    pub image: String,
    /// `IMAGE_PULL_SECRET_NAME`.
    pub image_pull_secret: Option<String>,
    /// `STORAGE_CLASS`; `None`: the cluster's default.
    pub storage_class: Option<String>,
    /// `STORAGE_SIZE`, a Kubernetes quantity.
    pub storage_size: String,
    /// `API_KEY_SECRET_NAME`: its keys become the session's environment.
    pub api_key_secret: String,
    /// `CONFIG_MAP_NAME`: mounted read-only at `/home/opencode/.opencode`.
    pub config_map: String,
    /// `USER_NAMESPACES`: `hostUsers: false`.
    pub user_namespaces: bool,
    /// Requests and limits of the opencode container; the init container has the same.
    pub resources: ContainerResources,
    /// Further variables of the session's environment; no secrets.
    pub environment: BTreeMap<String, String>,
    /// `POD_PATCH_FILE`: laid over each Pod.
    pub pod_patch: Option<PodPatch>,
    /// How long opencode may take to answer once its container runs; it takes seconds.
    pub answer_within: Duration,
    /// Names this router among several: another one for each process.
    pub identity: String,
    /// How the reaper's Lease is kept.
    pub lease: ElectionTiming,
}

/// Requests and limits, as Kubernetes quantities by resource name (`cpu`, `memory`).
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerResources {
    /// What the scheduler sets aside.
    pub requests: BTreeMap<String, String>,
    /// What the container can't exceed.
    pub limits: BTreeMap<String, String>,
}

impl Default for ContainerResources {
    /// opencode takes 315 MB at start and 700 MB in use; the rest is for what the agent runs. CPU is not
    /// limited: a limit throttles also where the node is idle.
    fn default() -> Self {
        let list =
            |list: &[(&str, &str)]| list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self { requests: list(&[("cpu", "100m"), ("memory", "512Mi")]), limits: list(&[("memory", "4Gi")]) }
    }
}

impl KubernetesSettings {
    /// The defaults, with the one value that has none.
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
            environment: BTreeMap::new(),
            pod_patch: None,
            answer_within: Duration::from_secs(180),
            identity: format!("opencode-router-{:016x}", rand::random::<u64>()),
            lease: ElectionTiming::default(),
        }
    }
}

/// How the Lease is kept. Defaults: renewed every 3 s, believed in for 10 s, taken over after 15 s; after an orderly
/// end it is taken over at the others' next look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElectionTiming {
    /// Between two renewals, and between two looks at another's Lease.
    pub retry_period: Duration,
    /// How long a holder believes in a Lease that it can't renew.
    pub renew_deadline: Duration,
    /// How long a Lease must stand unchanged before another takes it; in whole seconds, and longer than `renew_deadline`.
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

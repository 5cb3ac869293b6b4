//! The browser beside opencode, for the agent: a container of the session's Pod.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, EmptyDirVolumeSource, ResourceRequirements, Volume},
    apimachinery::pkg::api::resource::Quantity,
};

use super::{
    super::settings::KubernetesSettings,
    fields::{literal, mount, security_context, variable},
};

/// The port of the browser's DevTools on the Pod's loopback. They know no password, so nothing may make this
/// port reachable from outside of the Pod.
pub const DEVTOOLS_PORT: u16 = 9222;
/// The same, for the programs in the session.
pub(super) const DEVTOOLS_URL: &str = "http://localhost:9222";

/// A constant text.
const START: &str = include_str!("chromium.sh");
/// The browser's profile, caches and shared memory.
const VOLUME: &str = "chromium-tmp";
const VOLUME_SIZE: &str = "1Gi";

/// Makes the browser's container and its volume, if the operator named an image.
pub(super) fn chromium(settings: &KubernetesSettings) -> Option<(Container, Volume)> {
    let image = settings.chromium_image.clone()?;
    let limit = settings.ephemeral_storage.as_ref().map(|_| VOLUME_SIZE);
    let container = Container {
        name: "chromium".into(),
        image: Some(image),
        image_pull_policy: Some("IfNotPresent".into()),
        command: Some(vec!["/bin/sh".into(), "-c".into(), literal(START)]),
        env: Some(vec![variable("HOME", "/tmp")]),
        resources: Some(resources(limit)),
        security_context: Some(security_context()),
        volume_mounts: Some(vec![mount(VOLUME, "/tmp")]),
        ..Default::default()
    };
    let empty_dir = EmptyDirVolumeSource { size_limit: limit.map(quantity), ..Default::default() };
    let volume = Volume { name: VOLUME.into(), empty_dir: Some(empty_dir), ..Default::default() };
    Some((container, volume))
}

fn resources(ephemeral_storage: Option<&str>) -> ResourceRequirements {
    let list = |list: &[(&str, Option<&str>)]| {
        let set = list.iter().filter_map(|(name, value)| Some(((*name).to_owned(), quantity((*value)?))));
        Some(set.collect::<BTreeMap<_, _>>())
    };
    ResourceRequirements {
        requests: list(&[
            ("cpu", Some("100m")),
            ("memory", Some("256Mi")),
            ("ephemeral-storage", ephemeral_storage.map(|_| "64Mi")),
        ]),
        limits: list(&[("memory", Some("1Gi")), ("ephemeral-storage", ephemeral_storage)]),
        claims: None,
    }
}

fn quantity(text: &str) -> Quantity {
    Quantity(text.into())
}

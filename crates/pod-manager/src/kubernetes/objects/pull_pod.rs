//! The Pod that pulls an image: it runs nothing of it but `true`.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::core::v1::{
        Capabilities, Container, LocalObjectReference, Pod, PodSecurityContext, PodSpec,
        ResourceRequirements, SeccompProfile, SecurityContext,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};

use super::{super::settings::KubernetesSettings, names::HASH_LABEL};

/// The label of these Pods, and its value. They are no session's, so they do not carry the sessions'
/// `managed-by`, which makes routers and operators follow a Pod.
pub const LABEL: (&str, &str) = ("app.kubernetes.io/component", "image-pull");
/// The name of the container.
pub const CONTAINER: &str = "pull";

/// Makes the Pod. It goes where sessions go: the operator's patch decides on nodes, and on nothing else.
///
/// It carries the label of sessions, with a value that is no session's hash: the NetworkPolicy of sessions
/// applies to it, since what is in the image is not known.
#[must_use]
pub fn make_pull_pod(name: &str, image: &str, settings: &KubernetesSettings, deadline: Duration) -> Pod {
    let pod = Pod {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(settings.namespace.clone()),
            labels: Some(BTreeMap::from([
                (LABEL.0.to_owned(), LABEL.1.to_owned()),
                (HASH_LABEL.to_owned(), LABEL.1.to_owned()),
            ])),
            ..Default::default()
        },
        spec: Some(spec(image, settings, deadline)),
        status: None,
    };
    match &settings.pod_patch {
        Some(patch) => with_placement_of(pod.clone(), patch.apply(pod)),
        None => pod,
    }
}

fn spec(image: &str, settings: &KubernetesSettings, deadline: Duration) -> PodSpec {
    let secret = settings.image_pull_secret.as_ref();
    PodSpec {
        // The kubelet ends the Pod if no router does.
        active_deadline_seconds: Some(i64::try_from(deadline.as_secs()).unwrap_or(i64::MAX)),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        host_users: settings.user_namespaces.then_some(false),
        image_pull_secrets: secret.map(|name| vec![LocalObjectReference { name: name.clone() }]),
        containers: vec![container(image)],
        restart_policy: Some("Never".into()),
        termination_grace_period_seconds: Some(0),
        security_context: Some(PodSecurityContext {
            run_as_user: Some(1000),
            run_as_group: Some(1000),
            run_as_non_root: Some(true),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn container(image: &str) -> Container {
    let quantities = |list: &[(&str, &str)]| {
        Some(list.iter().map(|(name, value)| ((*name).to_owned(), Quantity((*value).to_owned()))).collect())
    };
    Container {
        name: CONTAINER.into(),
        image: Some(image.to_owned()),
        // The tag may name another image than the one that a node has.
        image_pull_policy: Some("Always".into()),
        command: Some(vec!["true".into()]),
        resources: Some(ResourceRequirements {
            requests: quantities(&[("cpu", "10m"), ("memory", "16Mi")]),
            limits: quantities(&[("cpu", "100m"), ("memory", "64Mi"), ("ephemeral-storage", "16Mi")]),
            claims: None,
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".into()]) }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Returns the Pod with what decides on the node from the patched one.
fn with_placement_of(mut pod: Pod, patched: Pod) -> Pod {
    if let (Some(spec), Some(patched)) = (&mut pod.spec, patched.spec) {
        spec.node_selector = patched.node_selector;
        spec.affinity = patched.affinity;
        spec.tolerations = patched.tolerations;
        spec.runtime_class_name = patched.runtime_class_name;
        spec.scheduler_name = patched.scheduler_name;
        spec.image_pull_secrets = patched.image_pull_secrets;
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::objects::patch::PodPatch;

    fn made(settings: &KubernetesSettings) -> PodSpec {
        make_pull_pod("pull", "registry.example.org/x:1", settings, Duration::from_secs(300)).spec.unwrap()
    }

    #[test]
    fn a_pull_pod_runs_nothing_and_holds_nothing() {
        let spec = made(&KubernetesSettings::new("session:1"));
        assert_eq!(spec.containers.len(), 1);
        assert_eq!(spec.containers[0].command, Some(vec!["true".to_owned()]));
        assert_eq!(spec.containers[0].image_pull_policy.as_deref(), Some("Always"));
        assert_eq!((&spec.volumes, &spec.init_containers), (&None, &None));
        assert_eq!(spec.active_deadline_seconds, Some(300));
        assert_eq!(spec.automount_service_account_token, Some(false));
    }

    #[test]
    fn a_pull_pod_goes_where_sessions_go_and_takes_nothing_else_from_the_patch() {
        let settings = KubernetesSettings::new("session:1");
        let patch = "spec: { nodeSelector: { pool: sessions }, tolerations: [{ operator: Exists }], \
                     containers: [{ name: sidecar, image: 'sidecar:1' }] }";
        let patch = PodPatch::parse(patch, &settings).unwrap();
        let spec = made(&KubernetesSettings { pod_patch: Some(patch), ..settings });
        assert_eq!(spec.node_selector.unwrap()["pool"], "sessions");
        assert_eq!(spec.tolerations.unwrap().len(), 1);
        assert_eq!(spec.containers.len(), 1);
    }
}

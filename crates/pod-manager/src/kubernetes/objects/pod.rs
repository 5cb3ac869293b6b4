//! The Pod of a session: opencode, in a container that prepares the repository first. See
//! docs/adr/0028.

use std::{collections::BTreeMap, time::SystemTime};

use k8s_openapi::{
    api::core::v1::{
        ConfigMapProjection, Container, ContainerPort, DownwardAPIProjection, DownwardAPIVolumeFile,
        DownwardAPIVolumeSource, EmptyDirVolumeSource, EnvFromSource, EnvVar, EnvVarSource,
        LocalObjectReference, ObjectFieldSelector, PersistentVolumeClaimVolumeSource, Pod,
        PodSecurityContext, PodSpec, ProjectedVolumeSource, ResourceRequirements, SeccompProfile,
        SecretEnvSource, SecretKeySelector, Volume, VolumeMount, VolumeProjection,
    },
    apimachinery::pkg::api::resource::Quantity,
};

use super::{
    super::settings::KubernetesSettings,
    chromium::{DEVTOOLS_URL, chromium},
    fields::{literal, mount, security_context, variable},
    names::{
        PORT, annotation, github_secret_name, metadata, pod_name, pvc_name, server_secret_name,
        user_secret_name,
    },
    patch::PodPatch,
};
use crate::model::{GitAuthor, Session, Source};

pub(super) const HOME: &str = "/home/opencode";
const USER: i64 = 1000;
/// What the scheduler reserves of a node's own disk.
const EPHEMERAL_STORAGE_REQUEST: &str = "64Mi";
/// A constant text: what differs between sessions is in the environment.
const GIT_INIT: &str = include_str!("git-init.sh");
const SERVE: &str = include_str!("serve.sh");
/// What serve.sh, and not opencode, gets.
const PREPARE_PREFIX: &str = "OPENCODE_ROUTER_";
const GITHUB_TOKEN: &str = "GITHUB_TOKEN";
/// The annotation of a Pod whose text is git's configuration of lowest precedence.
pub(crate) const GIT_CONFIG_KEY: &str = "git-config";
/// Where the Pod has it, and where the image may have its own.
const GIT_CONFIG_FOLDER: &str = "/etc/opencode-router";
const GIT_CONFIG_FILE: &str = "/etc/opencode-router/gitconfig";
const SYSTEM_GIT_CONFIG: &str = "/etc/gitconfig";
/// Gives git the token from the environment, for GitHub only. The token is never written to the volume.
const CREDENTIAL_HELPER: &str = "!f() { if [ \"$1\" = get ] && [ -n \"${GITHUB_TOKEN:-}\" ]; then echo username=x-access-token; echo \"password=$GITHUB_TOKEN\"; fi; }; f";

/// Makes the Pod of a session. The `restricted` Pod Security Standard admits it, unless the operator's patch
/// changes that.
#[must_use]
pub fn make_pod(session: &Session, settings: &KubernetesSettings, last_activity: SystemTime) -> Pod {
    let clones_in = CloningContainer::of(settings.pod_patch.as_ref());
    let pod = unpatched_pod(session, settings, last_activity, clones_in);
    match &settings.pod_patch {
        Some(patch) => patch.apply(pod),
        None => pod,
    }
}

/// The container that prepares the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloningContainer {
    /// opencode's, before it starts opencode: kubelet needs more than a second to see that an init container
    /// has ended.
    Opencode,
    /// The init container `git-init`, as in earlier versions: the operator's patch changes it.
    Init,
}

impl CloningContainer {
    pub(super) fn of(patch: Option<&PodPatch>) -> Self {
        if patch.is_some_and(PodPatch::names_git_init) { Self::Init } else { Self::Opencode }
    }
}

/// Makes the Pod without the operator's patch.
pub(super) fn unpatched_pod(
    session: &Session,
    settings: &KubernetesSettings,
    last_activity: SystemTime,
    clones_in: CloningContainer,
) -> Pod {
    let mut metadata = metadata(pod_name(session.hash), session, settings, last_activity);
    metadata.annotations.get_or_insert_default().extend([git_config(&GitAuthor::of(&session.owner))]);
    let (browser, browser_volume) = chromium(settings).unzip();
    Pod {
        metadata,
        spec: Some(PodSpec {
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            host_users: settings.user_namespaces.then_some(false),
            image_pull_secrets: settings
                .image_pull_secret
                .as_ref()
                .map(|name| vec![LocalObjectReference { name: name.clone() }]),
            init_containers: (clones_in == CloningContainer::Init).then(|| vec![git_init(session, settings)]),
            containers: [opencode(session, settings, clones_in)].into_iter().chain(browser).collect(),
            restart_policy: Some("Always".into()),
            // The pause process is PID 1 then: it reaps children, and opencode, not being PID 1, obeys
            // SIGTERM.
            share_process_namespace: Some(true),
            termination_grace_period_seconds: Some(30),
            security_context: Some(PodSecurityContext {
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                run_as_non_root: Some(true),
                fs_group: Some(USER),
                fs_group_change_policy: Some("OnRootMismatch".into()),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".into(),
                    localhost_profile: None,
                }),
                ..Default::default()
            }),
            volumes: Some(volumes(session, settings).into_iter().chain(browser_volume).collect()),
            ..Default::default()
        }),
        status: None,
    }
}

/// Returns the annotation that makes this author the default of the Pod's commits. What the user or the
/// repository configures wins, since git reads its system's configuration first.
pub(crate) fn git_config(author: &GitAuthor) -> (String, String) {
    (annotation(GIT_CONFIG_KEY), author.system_config(&[SYSTEM_GIT_CONFIG]))
}

fn git_init(session: &Session, settings: &KubernetesSettings) -> Container {
    let mut environment = git_environment(settings);
    environment.push(variable("HOME", "/tmp"));
    environment.extend(repository(session, ""));
    Container {
        name: "git-init".into(),
        image: Some(settings.image.clone()),
        image_pull_policy: Some("IfNotPresent".into()),
        command: Some(vec!["/bin/sh".into(), "-c".into(), literal(GIT_INIT)]),
        env: Some(environment),
        env_from: Some(vec![from_secret(github_secret_name(session.hash))]),
        resources: Some(resources(settings)),
        security_context: Some(security_context()),
        volume_mounts: Some(vec![
            VolumeMount {
                name: "user-data".into(),
                mount_path: "/workspace".into(),
                sub_path: Some("repo".into()),
                ..Default::default()
            },
            mount("tmp", "/tmp"),
            git_config_mount(),
        ]),
        ..Default::default()
    }
}

/// Returns variables that say what is cloned.
fn repository(session: &Session, prefix: &str) -> Vec<EnvVar> {
    let Source::Repository { url, branch, from } = &session.source else { return Vec::new() };
    let mut values = vec![("REPO_URL", url.as_str()), ("BRANCH", branch.as_str())];
    values.extend(from.as_ref().map(|from| ("SOURCE_BRANCH", from.as_str())));
    values.into_iter().map(|(name, value)| variable(&format!("{prefix}{name}"), value)).collect()
}

/// Returns a variable with the token of the sign-in. Of `GITHUB_TOKEN`, a user may have set another one.
fn sign_in_token(session: &Session) -> EnvVar {
    let selector = SecretKeySelector {
        name: github_secret_name(session.hash),
        key: GITHUB_TOKEN.into(),
        optional: Some(true),
    };
    let source = EnvVarSource { secret_key_ref: Some(selector), ..Default::default() };
    EnvVar { name: format!("{PREPARE_PREFIX}{GITHUB_TOKEN}"), value: None, value_from: Some(source) }
}

fn opencode(session: &Session, settings: &KubernetesSettings, clones_in: CloningContainer) -> Container {
    let mut environment = git_environment(settings);
    let mut command = vec!["/bin/sh".into(), "-c".into(), literal(SERVE)];
    if clones_in == CloningContainer::Opencode {
        // serve.sh removes them from opencode's environment.
        environment.extend(repository(session, PREPARE_PREFIX));
        environment.push(sign_in_token(session));
        command.extend(["opencode-router".into(), literal(GIT_INIT)]);
    }
    environment.push(variable("HOME", HOME));
    environment.push(variable("OPENCODE_DISABLE_AUTOUPDATE", "1"));
    if let Some(addresses) = &settings.addresses {
        let names = addresses.variables(session.hash);
        environment.extend(names.iter().map(|(name, value)| variable(name, value)));
    }
    environment.extend(settings.router_url.as_ref().map(|url| variable("OPENCODE_ROUTER_URL", url)));
    environment
        .extend(settings.chromium_image.as_ref().map(|_| variable("OPENCODE_BROWSER_URL", DEVTOOLS_URL)));
    environment.extend(settings.environment.iter().map(|(name, value)| variable(name, value)));
    Container {
        name: "opencode".into(),
        image: Some(settings.image.clone()),
        image_pull_policy: Some("IfNotPresent".into()),
        command: Some(command),
        // The repository's folder would be created as root.
        working_dir: Some(HOME.into()),
        env: Some(environment),
        // Later ones win: a user's own key overrides the team's, and the token of the sign-in.
        env_from: Some(vec![
            from_secret(settings.api_key_secret.clone()),
            from_secret(github_secret_name(session.hash)),
            from_secret(user_secret_name(&session.owner)),
            from_secret(server_secret_name(session.hash)),
        ]),
        ports: Some(vec![ContainerPort {
            name: Some("http".into()),
            container_port: i32::from(PORT),
            ..Default::default()
        }]),
        resources: Some(resources(settings)),
        security_context: Some(security_context()),
        volume_mounts: Some(vec![
            mount("user-data", HOME),
            VolumeMount { read_only: Some(true), ..mount("config-dir", "/home/opencode/.opencode") },
            mount("tmp", "/tmp"),
            git_config_mount(),
        ]),
        ..Default::default()
    }
}

/// Returns git's configuration as variables: the volume's owner does not matter (kubelet creates its folders
/// as root), credentials come from the environment, and no helper of the repository runs.
fn git_environment(settings: &KubernetesSettings) -> Vec<EnvVar> {
    let helper = format!("credential.{}.helper", settings.github_url);
    let pairs = [
        ("safe.directory", "*"),
        (helper.as_str(), CREDENTIAL_HELPER),
        ("protocol.allow", "never"),
        ("protocol.https.allow", "always"),
        ("protocol.http.allow", "always"),
        ("protocol.ssh.allow", "always"),
        ("protocol.git.allow", "always"),
        // Folders of the session itself, if its user names them.
        ("protocol.file.allow", "user"),
    ];
    let mut variables = vec![
        variable("GIT_TERMINAL_PROMPT", "0"),
        variable("GIT_CONFIG_SYSTEM", GIT_CONFIG_FILE),
        variable("GIT_CONFIG_COUNT", &pairs.len().to_string()),
    ];
    for (index, (key, value)) in pairs.into_iter().enumerate() {
        variables.push(variable(&format!("GIT_CONFIG_KEY_{index}"), key));
        variables.push(variable(&format!("GIT_CONFIG_VALUE_{index}"), value));
    }
    variables
}

fn volumes(session: &Session, settings: &KubernetesSettings) -> Vec<Volume> {
    let tmp = EmptyDirVolumeSource {
        size_limit: settings.ephemeral_storage.clone().map(Quantity),
        ..Default::default()
    };
    let data = PersistentVolumeClaimVolumeSource { claim_name: pvc_name(session.hash), read_only: None };
    // opencode writes a `.gitignore` into each configuration folder that lacks one, and answers every request
    // with an error if it can't (seen with 1.18). So there is one, whose text matches no file. The ConfigMap
    // comes later, and overrides it.
    let gitignore =
        DownwardAPIProjection { items: Some(vec![file_of_field(".gitignore", "metadata.name".into())]) };
    let git_config = format!("metadata.annotations['{}']", annotation(GIT_CONFIG_KEY));
    let git_config = DownwardAPIVolumeSource {
        items: Some(vec![file_of_field("gitconfig", git_config)]),
        ..Default::default()
    };
    let config =
        ConfigMapProjection { name: settings.config_map.clone(), optional: Some(true), ..Default::default() };
    let config = ProjectedVolumeSource {
        sources: Some(vec![
            VolumeProjection { downward_api: Some(gitignore), ..Default::default() },
            VolumeProjection { config_map: Some(config), ..Default::default() },
        ]),
        ..Default::default()
    };
    vec![
        Volume { name: "user-data".into(), persistent_volume_claim: Some(data), ..Default::default() },
        Volume { name: "config-dir".into(), projected: Some(config), ..Default::default() },
        Volume { name: "tmp".into(), empty_dir: Some(tmp), ..Default::default() },
        Volume { name: "git-config".into(), downward_api: Some(git_config), ..Default::default() },
    ]
}

/// Makes a file whose content is a field of the Pod.
fn file_of_field(path: &str, field_path: String) -> DownwardAPIVolumeFile {
    DownwardAPIVolumeFile {
        path: path.into(),
        field_ref: Some(ObjectFieldSelector { field_path, api_version: None }),
        ..Default::default()
    }
}

fn git_config_mount() -> VolumeMount {
    VolumeMount { read_only: Some(true), ..mount("git-config", GIT_CONFIG_FOLDER) }
}

fn resources(settings: &KubernetesSettings) -> ResourceRequirements {
    let quantities = |list: &BTreeMap<String, String>, ephemeral_storage: Option<&str>| {
        let mut all: BTreeMap<_, _> =
            list.iter().map(|(name, value)| (name.clone(), Quantity(value.clone()))).collect();
        if let Some(size) = ephemeral_storage {
            all.entry("ephemeral-storage".into()).or_insert_with(|| Quantity(size.into()));
        }
        (!all.is_empty()).then_some(all)
    };
    let limit = settings.ephemeral_storage.as_deref();
    ResourceRequirements {
        // Without a request, Kubernetes would reserve the limit.
        requests: quantities(&settings.resources.requests, limit.map(|_| EPHEMERAL_STORAGE_REQUEST)),
        limits: quantities(&settings.resources.limits, limit),
        claims: None,
    }
}

fn from_secret(name: String) -> EnvFromSource {
    EnvFromSource { secret_ref: Some(SecretEnvSource { name, optional: Some(true) }), ..Default::default() }
}

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;

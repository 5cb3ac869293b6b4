//! Fields that containers of a session's Pod share.

use k8s_openapi::api::core::v1::{Capabilities, EnvVar, SecurityContext, VolumeMount};

/// Makes a variable with exactly this value.
pub(super) fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.into(), value: Some(literal(value)), value_from: None }
}

/// Escapes `$`: Kubernetes replaces `$(NAME)` in values and commands, even by secrets of the environment.
/// <https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/>
pub(super) fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

pub(super) fn mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount { name: volume.into(), mount_path: path.into(), ..Default::default() }
}

pub(super) fn security_context() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
        run_as_non_root: Some(true),
        ..Default::default()
    }
}

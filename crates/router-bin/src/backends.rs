//! Opens the backend that the configuration names.

use std::{ffi::OsString, path::Path, sync::Arc};

use anyhow::anyhow;
use pod_manager::{
    AlwaysLeader, Leadership, SessionBackend, SystemClock,
    kubernetes::{
        KubernetesBackend, KubernetesSettings,
        connect::{self, Connection},
    },
    local::{LocalBackend, LocalSettings},
};

use crate::{
    config::{Backend, Config},
    opencode,
    start::{self, About},
};

/// The backend, who leads the routers that share it, and what there is to say of it.
///
/// # Errors
/// A sentence that says why it can't be had, and what to do.
pub(crate) async fn open(
    config: &Config,
) -> anyhow::Result<(Arc<dyn SessionBackend>, Arc<dyn Leadership>, About)> {
    match &config.backend {
        Backend::Local { state_dir, opencode } => local(config, state_dir, opencode).await,
        Backend::Kubernetes(settings) => kubernetes(settings, config.kubeconfig.as_ref()).await,
    }
}

async fn local(
    config: &Config,
    state_dir: &Path,
    program: &Path,
) -> anyhow::Result<(Arc<dyn SessionBackend>, Arc<dyn Leadership>, About)> {
    start::prepare_folder(state_dir)?;
    let settings = LocalSettings {
        single_user: config.own_machine(),
        environment: config.environment.0.clone(),
        ..LocalSettings::new(state_dir, program)
    };
    // opencode takes a while to say its version; sessions are read from the disk meanwhile.
    let (version, backend) = tokio::join!(
        opencode::check(program, state_dir),
        LocalBackend::open(settings, Arc::new(SystemClock))
    );
    let backend = backend?;
    match version {
        Ok(version) => {
            let about = About {
                with: format!("opencode {version}"),
                place: format!("{}/sessions  (repositories, conversations, logs)", state_dir.display()),
                end: "sessions end, their files stay",
            };
            Ok((backend, Arc::new(AlwaysLeader), about))
        }
        Err(error) => {
            backend.shutdown().await;
            Err(error)
        }
    }
}

async fn kubernetes(
    settings: &KubernetesSettings,
    kubeconfig: Option<&OsString>,
) -> anyhow::Result<(Arc<dyn SessionBackend>, Arc<dyn Leadership>, About)> {
    let found = connect::connect(kubeconfig.map(OsString::as_os_str), None).await;
    let Connection { client, address: cluster, .. } = found.map_err(|error| {
        anyhow!(
            "BACKEND=kubernetes, and no cluster can be had: {error}. Inside a Pod the router uses its service account; \
             elsewhere KUBECONFIG names a file that describes the cluster."
        )
    })?;
    let with = match connect::version(&client).await {
        Ok(version) => format!("Kubernetes {version}"),
        Err(error) => {
            tracing::warn!(%cluster, %error, "the API server does not answer yet; the router is not ready until it does");
            "Kubernetes".to_owned()
        }
    };
    let backend = KubernetesBackend::start_up(client, settings.clone(), Arc::new(SystemClock));
    let about = About {
        with,
        place: format!("Pods of the namespace {} at {cluster}", settings.namespace),
        end: "sessions go on",
    };
    Ok((backend.clone(), backend, about))
}

//! Opens the configured backend.

use std::{ffi::OsString, path::Path, sync::Arc};

use anyhow::anyhow;
use pod_manager::{
    AlwaysLeader, Leadership, PullImage, SessionAddresses, SessionBackend, SystemClock,
    kubernetes::{
        ImagePuller, KubernetesBackend, KubernetesSettings,
        connect::{self, Connection},
    },
    local::{LocalBackend, LocalSettings},
};

use crate::{
    config::{Backend, Config},
    opencode_version, startup,
};

/// An open backend.
pub(crate) struct OpenBackend {
    pub(crate) sessions: Arc<dyn SessionBackend>,
    /// Elects one of the replicas that share the backend.
    pub(crate) leadership: Arc<dyn Leadership>,
    /// Pulls images before a session needs them, if sessions are made of images.
    pub(crate) images: Option<Arc<dyn PullImage>>,
    pub(crate) info: BackendInfo,
}

/// What the startup message says about the backend.
pub(crate) struct BackendInfo {
    /// The software that runs the sessions, with its version.
    pub(crate) runtime: String,
    /// Where sessions are kept.
    pub(crate) location: String,
    /// What happens to sessions when the router ends.
    pub(crate) at_shutdown: &'static str,
}

/// Opens the configured backend.
///
/// # Errors
/// A sentence that says why it can't be opened, and what to do.
pub(crate) async fn open(config: &Config, port: u16) -> anyhow::Result<OpenBackend> {
    let addresses = Some(config.names.session_addresses(port)?);
    match &config.backend {
        Backend::Local { state_dir, opencode } => local(config, state_dir, opencode, addresses).await,
        Backend::Kubernetes(settings) => {
            let settings = KubernetesSettings { addresses, ..(**settings).clone() };
            kubernetes(settings, config.kubeconfig.as_ref()).await
        }
    }
}

async fn local(
    config: &Config,
    state_dir: &Path,
    opencode: &Path,
    addresses: Option<SessionAddresses>,
) -> anyhow::Result<OpenBackend> {
    startup::prepare_state_dir(state_dir)?;
    let settings = LocalSettings {
        single_user: config.is_single_user(),
        addresses,
        environment: config.environment.0.clone(),
        ..LocalSettings::new(state_dir, opencode)
    };
    // Both take a while: opencode to start, the backend to read the sessions from the disk.
    let (version, backend) = tokio::join!(
        opencode_version::check(opencode, state_dir),
        LocalBackend::open(settings, Arc::new(SystemClock))
    );
    let backend = backend?;
    match version {
        Ok(version) => {
            let info = BackendInfo {
                runtime: format!("opencode {version}"),
                location: format!("{}/sessions  (repositories, conversations, logs)", state_dir.display()),
                at_shutdown: "sessions end, their files are kept",
            };
            Ok(OpenBackend { sessions: backend, leadership: Arc::new(AlwaysLeader), images: None, info })
        }
        Err(error) => {
            backend.shutdown().await;
            Err(error)
        }
    }
}

async fn kubernetes(
    settings: KubernetesSettings,
    kubeconfig: Option<&OsString>,
) -> anyhow::Result<OpenBackend> {
    let connected = connect::connect(kubeconfig.map(OsString::as_os_str), None).await;
    let Connection { client, address: cluster, .. } = connected.map_err(|error| {
        anyhow!(
            "BACKEND=kubernetes is set, but no cluster can be reached: {error}. Inside a Pod, the router \
             uses its service account. Elsewhere, set KUBECONFIG to a file that describes the cluster."
        )
    })?;
    let runtime = match connect::version(&client).await {
        Ok(version) => format!("Kubernetes {version}"),
        Err(error) => {
            tracing::warn!(%cluster, %error, "API server unreachable; not ready until it answers");
            "Kubernetes".to_owned()
        }
    };
    let location = format!("Pods of the namespace {} at {cluster}", settings.namespace);
    let images: Arc<dyn PullImage> = Arc::new(ImagePuller::new(client.clone(), settings.clone()));
    let backend = KubernetesBackend::start_up(client, settings, Arc::new(SystemClock));
    let info = BackendInfo { runtime, location, at_shutdown: "sessions keep running" };
    Ok(OpenBackend { sessions: backend.clone(), leadership: backend, images: Some(images), info })
}
